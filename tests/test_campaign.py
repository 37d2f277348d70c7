"""A campaign: entry after entry under one time limit, resumable, and merged on another machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill_bench.interrupt import Interrupt
from scripts import campaign, campaign_folder
from scripts.campaign import Entry

GOOD = "method=random dataset=digits ipc=1"
WORDS = ["--profile", "smoke", "protocol.epochs=1", "protocol.nets=1"]


class Machine:
    """Stands for processes: makes runs in this one, and fails for a method; remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.stops = False

    def __call__(self, words: list[str], log: Path, _left: float) -> int:
        from distill_bench.runner import execute

        self.asked.append(words)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("working\nerror: it broke\n")
        if "method=herding" in words:
            return 1
        plan = campaign._plan(Entry(" ".join(words[1:])), [])
        if plan is not None and not self.stops:
            execute(plan, Interrupt())
        return 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    entries = [
        Entry("method=herding dataset=digits ipc=1", "datadam_table1"),
        Entry(GOOD, "datadam_table1"),
        Entry("-m gpu -q", program="pytest"),
    ]
    monkeypatch.setattr(campaign, "CAMPAIGN", entries)
    monkeypatch.setattr(campaign, "_process", found)
    monkeypatch.setattr(campaign, "_has_gpu", lambda: False)
    monkeypatch.chdir(tmp_path)
    at(tmp_path / "here", monkeypatch)
    return found


def at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on folders lie under `root`."""
    for name in ("runs", "products", "cache", "tables"):
        monkeypatch.setenv(f"DISTILL_BENCH_{name.upper()}", str(root / name))


def states(out: Path = Path("campaign")) -> list[str]:
    return [outcome.state for outcome in campaign_folder.read_outcomes(out).values()]


def test_a_failed_entry_is_named_and_stops_no_other_and_what_is_done_is_not_done_again(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert campaign.main(WORDS) == 1
    assert states() == ["failed", "done", "needs a GPU"]
    assert "failed: error: it broke" in capsys.readouterr().out
    limits = [word for words in machine.asked for word in words if word.startswith("time_limit=")]
    assert len(limits) == 2
    assert campaign.main(WORDS) == 1
    assert len(machine.asked) == 3, "the failed entry is tried again, and no other"


def test_without_time_nothing_begins_and_what_was_stopped_goes_on(machine: Machine) -> None:
    assert campaign.main([*WORDS, "--time-limit", "0"]) == 0
    assert states() == ["not begun"] * 3
    machine.stops = True
    campaign.main(WORDS)
    assert states()[1] == "stopped"
    machine.stops = False
    campaign.main(WORDS)
    assert states()[1] == "done"


def test_the_folder_is_small_and_merges_into_runs_and_tables_elsewhere(
    machine: Machine,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    campaign.main(WORDS)
    files = [file for file in Path("campaign").rglob("*") if file.is_file()]
    assert not [file for file in files if file.suffix == ".safetensors"]
    assert sum(file.stat().st_size for file in files) < 200_000
    at(tmp_path / "there", monkeypatch)
    assert campaign.main(["--merge", "campaign"]) == 0
    (mine,) = (tmp_path / "here" / "runs").glob("*/result.json")
    (merged,) = (tmp_path / "there" / "runs").glob("*/result.json")
    assert merged.read_bytes() == mine.read_bytes()
    assert "random" in (tmp_path / "there" / "tables" / "datadam" / "table1.csv").read_text()
    capsys.readouterr()
    campaign.main(["--merge", "campaign"])
    assert "there already" in capsys.readouterr().out


def test_wrong_words_are_one_line_and_nothing_begins(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert campaign.main([*WORDS, "method.nothing=1"]) == 2
    assert capsys.readouterr().err.startswith("error: method.nothing")
    assert campaign.main(["--merge", "nowhere"]) == 2
    assert not machine.asked


@pytest.mark.parametrize(
    ("program", "codes"),
    [("print('said'); raise SystemExit(3)", {3}), ("import time; time.sleep(60)", {-signal.SIGINT, 1})],
)
def test_a_process_is_heard_and_asked_to_stop_when_the_time_is_up(
    tmp_path: Path, program: str, codes: set[int]
) -> None:
    began = time.monotonic()
    assert campaign._process(["-c", program], tmp_path / "logs" / "00.txt", 5.0) in codes
    assert time.monotonic() - began < 30
    assert (tmp_path / "logs" / "00.txt").read_text().startswith(("said", "Traceback"))


def test_curves_are_thin_and_end_where_they_did(tmp_path: Path) -> None:
    points = [f'{{"phase": "{phase}", "step": {step}}}' for phase in "ab" for step in range(1000)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(points))
    lines: Sequence[str] = campaign_folder._thin(tmp_path / "metrics.jsonl").splitlines()
    assert len(lines) <= 2 * (campaign_folder.POINTS + 1)
    assert lines[-1] == points[-1]


@pytest.mark.slow
def test_every_run_of_the_campaign_can_be_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(tmp_path, monkeypatch)
    planned = [campaign._plan(entry, []) for entry in campaign.CAMPAIGN]
    ids = [plan.run_id for plan in planned if plan is not None]
    assert len(ids) == len(set(ids)) == sum(entry.program == "run.py" for entry in campaign.CAMPAIGN)
