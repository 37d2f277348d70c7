"""Measurements for a GPU in order of worth, under one time limit: `python scripts/campaign.py --time-limit
10m`.

Each is a process of its own with the time that is left. The same command goes on where it stopped, and what
is done is not done again. The folder `campaign` then holds the results, thin curves and small pictures:
copied to another machine, `python scripts/campaign.py --merge campaign` puts them among the runs and into the
tables there.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_REPOSITORY))  # the checkout comes first

from distill_bench.errors import UserError  # noqa: E402
from distill_bench.planning import Options, Plan  # noqa: E402
from scripts import campaign_folder  # noqa: E402
from scripts.campaign_folder import Outcome  # noqa: E402

__all__ = ["CAMPAIGN", "Entry", "main"]

GRACE = 60.0  # seconds over its time that a process may take to leave a checkpoint
SHORTEST = 10.0  # seconds below which nothing is begun


@dataclass(frozen=True)
class Entry:
    """Words of `run.py`, and the table that its result goes into; or else what only a GPU shows: the words of
    another program of Python's."""

    words: str
    table: str = ""
    program: str = "run.py"


CAMPAIGN = [
    Entry("method=datadam dataset=cifar10 ipc=1", "datadam_table1"),  # the paper: 32.0
    Entry("method=datadam dataset=cifar10 ipc=10", "datadam_table1"),  # 54.2
    Entry("method=dm dataset=cifar10 ipc=1", "datadam_table1"),
    Entry("method=dm dataset=cifar10 ipc=10", "datadam_table1"),
    Entry("method=random dataset=cifar10 ipc=1", "datadam_table1"),
    Entry("method=random dataset=cifar10 ipc=10", "datadam_table1"),
    Entry("method=igds dataset=tinyimagenet ipc=10"),
    Entry("method=diffusion dataset=tinyimagenet ipc=10"),
    Entry("method=random dataset=tinyimagenet ipc=10"),
    Entry("matching_step", program="scripts/benchmark.py"),
    Entry("gradient_step", program="scripts/benchmark.py"),
    Entry("trajectory_step", program="scripts/benchmark.py"),
    Entry("students", program="scripts/benchmark.py"),
    Entry("-m gpu -q", program="pytest"),
    Entry("preset=datadam/repo dataset=cifar10 ipc=1", "datadam_table1"),
    Entry("preset=datadam/repo dataset=cifar10 ipc=10", "datadam_table1"),
    *(
        Entry(f"method={method} dataset=cifar10 ipc={ipc} seed={seed}", "datadam_table1")
        for seed in (1, 2)
        for method in ("datadam", "dm")
        for ipc in (1, 10)
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 if an entry failed; 2, with one line, for wrong input; 130 if stopped by hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="further words of each run")
    parser.add_argument("--time-limit", default="10m", help="for all of it: 90, 9m, 1.5h (default: 10m)")
    parser.add_argument("--profile", default="paper", help="smoke, fast or paper (default: paper)")
    parser.add_argument("--out", type=Path, default=Path("campaign"), help="default: campaign")
    parser.add_argument("--merge", type=Path, metavar="FOLDER", help="put what FOLDER holds in its place")
    given = parser.parse_args(argv)
    try:
        if given.merge:
            return campaign_folder.merge(given.merge)
        end = time.monotonic() + Options(time_limit=given.time_limit).limit
        more = [*([] if given.profile == "paper" else [f"profile={given.profile}"]), *given.words]
        _plan(CAMPAIGN[0], more)  # so that wrong words are one line
        return _carry_out(more, end, given.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _plan(entry: Entry, more: Sequence[str]) -> Plan | None:
    """The plan of a run, which refuses wrong words; None for another program."""
    if entry.program != "run.py":
        return None
    from distill_bench.overrides import check_choices, check_keys, plain_words
    from distill_bench.planning import compose, plan_run

    given = plain_words([*entry.words.split(), *more])
    check_choices(given)
    check_keys(given)
    composition = compose(given)
    return plan_run(composition.config, composition.choices, composition.words)


def _carry_out(more: Sequence[str], end: float, out: Path) -> int:
    """Entry after entry; each outcome is written down at once."""
    outcomes, own = campaign_folder.read_outcomes(out), []
    for number, entry in enumerate(CAMPAIGN):
        name = " ".join([entry.words, *more] if entry.program == "run.py" else [entry.program, entry.words])
        own.append(name)
        before = outcomes.get(name, Outcome(name=name, table=entry.table))
        left = end - time.monotonic()
        try:
            if left < SHORTEST:
                outcomes[name] = replace(before, state=before.state or "not begun")
            else:
                log = out / "logs" / f"{number:02}.txt"
                outcomes[name] = _outcome(entry, more, before, left, log)
        except UserError as error:
            outcomes[name] = replace(before, state="failed", error=str(error))
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr)
            return 130
        campaign_folder.write_outcomes(out, outcomes)
    print(campaign_folder.summary(out, [outcomes[name] for name in own]))
    return 1 if any(outcomes[name].state == "failed" for name in own) else 0


def _outcome(entry: Entry, more: Sequence[str], before: Outcome, left: float, log: Path) -> Outcome:
    """What becomes of an entry in the time that is left."""
    plan = _plan(entry, more)
    if plan is None and not _has_gpu():
        return replace(before, state="needs a GPU")
    done = _finished(plan, before, log.parent.parent)
    if done:
        return done
    print(f"{before.name} ({left:.0f} s left)", flush=True)
    began = time.monotonic()
    code = _process(_command(entry, more, left, log), log, left)
    now = replace(before, seconds=before.seconds + time.monotonic() - began, error="")
    if plan is None and code == 0:
        return replace(now, state="done")
    done = _finished(plan, now, log.parent.parent)
    if done:
        return done
    if code in (0, 130, -signal.SIGINT, -signal.SIGKILL):
        return replace(now, state="stopped")
    lines = log.read_text(errors="replace").strip().splitlines()
    return replace(now, state="failed", error=lines[-1] if lines else f"exit code {code}")


def _finished(plan: Plan | None, before: Outcome, out: Path) -> Outcome | None:
    """The outcome of an entry that is done, whose result is then in the folder."""
    if plan is None:
        return before if before.state == "done" else None
    from distill_bench import runner

    if runner.finished(plan) is None:
        return None
    campaign_folder.keep(plan, out)
    return replace(before, state="done", run_id=plan.run_id, error="")


def _command(entry: Entry, more: Sequence[str], left: float, log: Path) -> list[str]:
    if entry.program == "run.py":
        return [str(_REPOSITORY / "run.py"), *shlex.split(entry.words), *more, f"time_limit={left:.0f}s"]
    if entry.program == "pytest":
        return ["-m", "pytest", *entry.words.split(), str(_REPOSITORY / "tests")]
    out = log.parent.parent / "benchmarks"
    return [str(_REPOSITORY / entry.program), *entry.words.split(), "--out", str(out)]


def _process(words: list[str], log: Path, left: float) -> int:
    """Run Python on the words, what it says into `log`; its exit code. When the time is up it is asked to
    stop."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=subprocess.STDOUT)
        own_limit = any(word.startswith("time_limit=") for word in words)
        waits = [left + (GRACE if own_limit else 0), GRACE]
        try:
            for wait in waits:
                try:
                    return process.wait(timeout=wait)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGINT)
        except KeyboardInterrupt:  # which the process was sent as well
            process.wait(timeout=GRACE)
            raise
        finally:
            if process.poll() is None:
                process.kill()
        return process.wait()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    raise SystemExit(main())
