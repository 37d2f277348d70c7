"""A run that was killed and started again gives the bits of one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench.files import load_tensors
from tests.conftest import REPOSITORY, command_environment

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
    """Until a file of the run that matches exists (or the process ended)."""
    deadline = time.monotonic() + 120
    while not list(roots.glob(f"runs/*/{pattern}")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def product(roots: Path) -> tuple[dict[str, Any], list[Any]]:
    """The synthetic set and the measures of the only run."""
    (folder,) = [
        path for path in (roots / "runs").iterdir() if path.is_dir() and not path.name.startswith(".")
    ]
    result = json.loads((folder / "result.json").read_text())
    return load_tensors(folder / "synthetic.safetensors"), result["measures"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any]]:
    roots = tmp_path_factory.mktemp("whole")
    assert start(roots).wait() == 0
    return product(roots)


MOMENTS: dict[str, tuple[str, float]] = {
    "before the first checkpoint": ("config.json", 0.0),
    "early in the distillation": ("checkpoint-distil.safetensors", 0.05),
    "later in the distillation": ("checkpoint-distil.safetensors", 0.4),
    "in the evaluation": ("checkpoint-train*.safetensors", 0.1),
}


@pytest.mark.parametrize(("file", "delay"), MOMENTS.values(), ids=MOMENTS.keys())
def test_a_killed_run_resumes_to_the_same_bits(
    tmp_path: Path, uninterrupted: tuple[dict[str, Any], list[Any]], file: str, delay: float
) -> None:
    process = start(tmp_path)
    wait_for(tmp_path, file, process)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(tmp_path.glob("runs/*/result.json"))
    assert start(tmp_path).wait() == 0
    images, measures = product(tmp_path)
    assert torch.equal(images["images"], uninterrupted[0]["images"])
    assert measures == uninterrupted[1]


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, uninterrupted: tuple[dict[str, Any], list[Any]]
) -> None:
    process = start(tmp_path)
    wait_for(tmp_path, "checkpoint-distil.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert start(tmp_path).wait() == 0
    assert torch.equal(product(tmp_path)[0]["images"], uninterrupted[0]["images"])


def test_the_curves_of_a_resumed_run_have_each_step_once(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(tmp_path, "checkpoint-distil.safetensors", process)
    time.sleep(0.2)
    process.kill()
    process.wait()
    assert start(tmp_path).wait() == 0
    (curves,) = tmp_path.glob("runs/*/metrics.jsonl")
    steps = [p["step"] for p in map(json.loads, curves.read_text().splitlines()) if p["phase"] == "distil"]
    assert steps == [0, 20, 40]


def test_a_finished_run_is_shown_and_not_run_again(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["method=random", "profile=smoke", "dataset=digits", "ipc=1"]
    first = command(*words)
    assert first.returncode == 0, first.stderr
    (result,) = tmp_path.glob("runs/*/result.json")
    made = result.stat().st_mtime_ns
    again = command(*words)
    assert "already done" in again.stdout
    assert result.stat().st_mtime_ns == made
    anew = command(*words, "force=true")
    assert "already done" not in anew.stdout
    assert result.stat().st_mtime_ns != made
