"""A run that was killed, stopped or shown again, through the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, command_environment
from tests.processes.contents import contents

WORDS = [
    "method=datadam",
    "dataset=digits",
    "ipc=1",
    "profile=smoke",
    "method.iterations=60",
    "protocol.epochs=60",
    "protocol.nets=2",
    "checkpoint_seconds=0",
]


def start(roots: Path, *words: str) -> subprocess.Popen[str]:
    roots.mkdir(exist_ok=True)
    line = [sys.executable, str(REPOSITORY / "run.py"), *WORDS, *words]
    return subprocess.Popen(
        line, cwd=roots, env=command_environment(roots), stderr=subprocess.PIPE, text=True
    )


def wait_for(roots: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file that matches exists (or the process ended)."""
    deadline = time.monotonic() + 120
    while not list(roots.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    roots = tmp_path_factory.mktemp("whole")
    assert start(roots).wait() == 0
    return contents(roots)


MOMENTS = {
    "in the distillation": ("products/*/unfinished/checkpoint-distil.safetensors", 0.1),
    "in the evaluation": ("runs/*/unfinished/checkpoint-train*.safetensors", 0.05),
}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "delay"), MOMENTS.values(), ids=MOMENTS.keys())
def test_a_killed_run_resumes_to_the_same_bits_curves_and_files(
    tmp_path: Path, uninterrupted: dict[str, object], file: str, delay: float
) -> None:
    process = start(tmp_path)
    wait_for(tmp_path, file, process)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(tmp_path.glob("runs/*/result.json"))
    assert start(tmp_path).wait() == 0
    assert contents(tmp_path) == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("word", ["force=false", "force=true"])
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(
    tmp_path: Path, uninterrupted: dict[str, object], word: str
) -> None:
    process = start(tmp_path, word)
    wait_for(tmp_path, "products/*/unfinished/checkpoint-distil.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in said
    process = start(tmp_path, word)
    _, said = process.communicate()
    assert process.returncode == 0
    assert "distil: going on from step" in said
    assert contents(tmp_path) == uninterrupted


def test_a_time_limit_is_no_failure_and_the_same_command_goes_on(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["method=random", "profile=smoke", "dataset=digits", "ipc=1", "protocol.epochs=1"]
    stopped = command(*words, "time_limit=0s")
    assert stopped.returncode == 0, stopped.stderr
    assert "time_limit=0s" in stopped.stderr
    assert "the same command goes on" in stopped.stderr
    assert not list(tmp_path.glob("runs/*/result.json"))
    assert command(*words, "time_limit=1h").returncode == 0
    (result,) = tmp_path.glob("runs/*/result.json")
    assert "time_limit" not in json.loads(result.read_text())["provenance"]["command"]


def test_a_finished_run_is_shown_and_not_run_again(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["method=random", "profile=smoke", "dataset=digits", "ipc=1", "protocol.epochs=1"]
    first = command(*words)
    assert first.returncode == 0, first.stderr
    (result,) = tmp_path.glob("runs/*/result.json")
    time_of_writing = result.stat().st_mtime_ns
    again = command(*words)
    assert "already done" in again.stdout
    assert result.stat().st_mtime_ns == time_of_writing
