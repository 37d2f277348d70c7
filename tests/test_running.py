"""The resumable loop, its curves, and parts that are made once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distill_bench.errors import UserError
from distill_bench.interrupt import Interrupt, Interrupted
from distill_bench.planning import Options
from distill_bench.running import Run
from distill_bench.seeding import generator
from distill_bench.store import Cache, Checkpoints
from distill_bench.tracking import Tracker


def make_run(root: Path, cache: Path | None = None) -> Run:
    """A run on the CPU that saves after every step and logs every one."""
    root.mkdir(exist_ok=True)
    return Run(
        device=torch.device("cpu"),
        seed=0,
        cache=Cache(cache or root / "cache", say=lambda _: None),
        checkpoints=Checkpoints(root, {"run": "a test"}),
        tracker=Tracker(root / "metrics.jsonl"),
        interrupt=Interrupt(),
        checkpoint_seconds=0.0,
        log_every=1,
    )


def walk(run: Run, stop_after: int | None = None, name: str = "walk") -> dict[str, Any]:
    """A loop whose state depends on every step."""
    weights = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
    state: dict[str, Any] = {
        "weights": weights,
        "optimiser": optimiser,
        "count": torch.zeros((), dtype=torch.long),
    }
    for step in run.loop(name, 20, state):
        target = torch.randn(3, generator=generator(0, "walk", step))
        optimiser.zero_grad()
        (weights - target).square().sum().backward()
        optimiser.step()
        state["count"] += 1
        run.log(name, 3 * step, loss=weights.sum().detach())
        run.log("other", 3 * step + 1, loss=1.0)
        if step == stop_after:
            run.interrupt.requested = True
    return state


@pytest.mark.parametrize("stop", [0, 7, 18])
def test_a_loop_that_was_interrupted_resumes_to_the_same_bits_and_curves(tmp_path: Path, stop: int) -> None:
    whole_run = make_run(tmp_path / "whole")
    whole = walk(whole_run)
    with pytest.raises(Interrupted, match=f"walk {stop + 1}/20"):
        walk(make_run(tmp_path / "parts"), stop_after=stop)
    resumed_run = make_run(tmp_path / "parts")
    resumed = walk(resumed_run)
    assert torch.equal(whole["weights"], resumed["weights"])
    assert resumed["count"] == 20
    assert resumed_run.tracker.path.read_bytes() == whole_run.tracker.path.read_bytes()


def test_a_time_limit_stops_a_loop_at_a_checkpoint_from_which_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTILL_BENCH_BEGAN", raising=False)  # of a command line in this process
    whole = walk(make_run(tmp_path / "whole"))
    limited, clock = make_run(tmp_path / "parts"), iter([100.0, *[101.0] * 8, *[103.0] * 100])
    monkeypatch.setattr("distill_bench.interrupt.time", SimpleNamespace(time=lambda: next(clock)))
    limited.interrupt = Interrupt(limit=2)
    with pytest.raises(Interrupted, match="walk 8/20") as stopped:
        walk(limited)
    assert stopped.value.at_limit
    monkeypatch.undo()
    assert torch.equal(walk(make_run(tmp_path / "parts"))["weights"], whole["weights"])


@pytest.mark.parametrize(
    ("words", "seconds"), [("", math.inf), ("90", 90), ("45s", 45), ("9m", 540), ("1.5h", 5400), ("0", 0)]
)
def test_a_time_limit_is_seconds_or_a_number_with_a_unit(words: str, seconds: float) -> None:
    assert Options(time_limit=words).limit == seconds


def test_points_that_a_killed_process_wrote_behind_its_checkpoint_are_dropped(tmp_path: Path) -> None:
    """The points count other things than the loop does, as a prior's do: steps, where it counts slices."""
    walk(whole_run := make_run(tmp_path / "whole"))
    killed = make_run(tmp_path / "killed")
    killed.checkpoint_seconds = math.inf  # never saves by itself
    steps = killed.loop("walk", 20, {"count": torch.zeros(())})
    for step in (next(steps), next(steps)):
        killed.log("walk", 1000 + step, loss=0.0)
    with killed.tracker.path.open("a") as file:
        file.write('{"phase": "walk", "st')  # the kill
    walk(resumed := make_run(tmp_path / "killed"))
    assert resumed.tracker.path.read_bytes() == whole_run.tracker.path.read_bytes()


def test_a_loop_that_ended_is_not_walked_again(tmp_path: Path) -> None:
    walk(make_run(tmp_path))
    again = walk(make_run(tmp_path), stop_after=0)
    assert again["count"] == 20


def test_a_checkpoint_of_other_data_is_named_and_not_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    run.checkpoints.about["data"] = "old"
    with pytest.raises(Interrupted):
        walk(run, stop_after=5)
    other = make_run(tmp_path)
    other.checkpoints.about["data"] = "new"
    assert walk(other)["count"] == 20
    assert "made for something else: starting walk anew" in capsys.readouterr().err


def test_a_value_that_is_not_finite_stops_the_run_and_says_where(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(UserError, match=r"distil step 3: loss=nan: the run diverged"):
        run.log("distil", 3, loss=torch.tensor(math.nan))
    assert not run.tracker.points()


def test_a_state_that_is_not_finite_is_not_kept_and_the_last_good_one_is(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    values = torch.zeros(3)
    line = r"distil step 6: its state is not finite.*the last good state is that of step 5"
    with pytest.raises(UserError, match=line):
        for step in run.loop("distil", 20, {"values": values}):
            values += 1.0 if step < 5 else math.nan
    saved = run.checkpoints.load("distil")
    assert saved is not None and saved["step"] == 5


def test_a_part_is_made_once_and_its_curves_join_every_run_that_uses_it(tmp_path: Path) -> None:
    calls: list[int] = []

    def make(part: Run) -> Mapping[str, Any]:
        calls.append(1)
        return {"weights": walk(part, name="part")["weights"]}

    curves = []
    for name in "ab":
        run = make_run(tmp_path / name, tmp_path / "cache")
        run.cached("thing", {"of": 1}, make)
        walk(run)
        curves.append(run.tracker.path.read_text())
    assert len(calls) == 1
    assert curves[0] == curves[1]
    assert curves[0].count('"phase": "part"') == 20


def test_a_part_whose_making_was_stopped_is_gone_on_with_by_the_next_run(tmp_path: Path) -> None:
    steps: list[int] = []

    def make(part: Run, stop: int | None) -> Mapping[str, Any]:
        state = {"count": torch.zeros(())}
        for step in part.loop("part", 10, state):
            steps.append(step)
            state["count"] += 1
            part.interrupt.requested = step == stop
        return state

    with pytest.raises(Interrupted):
        make_run(tmp_path / "a", tmp_path / "cache").cached("thing", {}, lambda part: make(part, stop=3))
    tree = make_run(tmp_path / "b", tmp_path / "cache").cached(
        "thing", {}, lambda part: make(part, stop=None)
    )
    assert steps == list(range(10))
    assert tree["count"] == 10
    assert not list((tmp_path / "cache").glob("*/*.work"))


def test_the_loop_of_a_resumed_run_says_from_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Interrupted):
        walk(make_run(tmp_path), stop_after=6)
    walk(make_run(tmp_path))
    assert "walk: going on from step 7 of 20" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [4, 15])
def test_curves_of_parts_and_loops_are_those_of_an_uninterrupted_run(tmp_path: Path, stop: int) -> None:
    def whole(root: Path, stop_at: int | None) -> Run:
        run = make_run(root)
        run.cached("thing", {}, lambda part: {"weights": walk(part, name="part")["weights"]})
        walk(run, name="first")
        walk(run, stop_after=stop_at, name="second")
        return run

    uninterrupted = whole(tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        whole(tmp_path / "parts", stop)
    resumed = whole(tmp_path / "parts", None)
    assert resumed.tracker.path.read_bytes() == uninterrupted.tracker.path.read_bytes()
