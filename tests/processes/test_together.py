"""Several processes train one network, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distill_bench
from tests.conftest import REPOSITORY, command_environment

WORDS = (
    "method=kd",
    "dataset=digits",
    "student=mlp16",
    "teacher=mlp",
    "recipe=digits",
    "device=cpu",
    "threads=1",
)


def start(roots: Path, *words: str, processes: int = 2) -> subprocess.Popen[str]:
    """Two processes of the program."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    line = [*launch, str(processes), str(REPOSITORY / "run.py"), *words]
    roots.mkdir(exist_ok=True)
    environment, pipe = command_environment(roots), subprocess.PIPE
    return subprocess.Popen(line, cwd=roots, env=environment, text=True, stdout=pipe, stderr=pipe)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit code, what it printed, what it said beside)."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def weights(roots: Path) -> list[float]:
    """All weights of the run's student, in a row."""
    (folder,) = roots.glob("products/kd_*")
    state = distill_bench.load(folder).backbone.state_dict()
    return [float(x) for value in state.values() for x in value.flatten().double()]


def test_two_processes_train_the_network_of_one(
    run_cell: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    words = (*WORDS, "recipe.epochs=2")
    code, out, err = finish(start(tmp_path / "two", *words))
    assert code == 0, err[-2000:]
    assert out.count("run kd_digits") == 1  # one of them speaks
    assert len(list((tmp_path / "two").glob("products/*"))) == 2  # the teacher and the student
    assert len(list((tmp_path / "two").glob("runs/*/result.json"))) == 1
    run_cell(*words, roots=tmp_path / "one")
    pairs = list(zip(weights(tmp_path / "two"), weights(tmp_path / "one"), strict=True))
    assert max(abs(a - b) for a, b in pairs) < 1e-4
    assert any(a != b for a, b in pairs)  # sums of parts are rounded otherwise: both did work


@pytest.mark.slow
def test_only_the_training_of_one_network_is_shared(tmp_path: Path) -> None:
    words = ("method=dm", "dataset=digits", "ipc=1", "profile=smoke", "device=cpu")
    code, _, err = finish(start(tmp_path / "dm", *words))
    assert code != 0
    assert err.count("error: several processes train one network") == 1


@pytest.mark.slow
def test_a_stopped_training_of_two_goes_on(tmp_path: Path) -> None:
    words = (*WORDS, "recipe.epochs=150", "checkpoint_seconds=0.1")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert finish(start(whole, *words))[0] == 0
    process = start(halves, *words)
    deadline = time.monotonic() + 120
    while not list(halves.glob("products/kd_*/unfinished/*train*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    assert finish(process)[0] != 0
    assert not list(halves.glob("products/kd_*/product.json"))
    code, _, err = finish(start(halves, *words))
    assert code == 0 and "going on from step" in err
    assert weights(halves) == weights(whole)
