"""Ten SIGKILLs at random moments: what is there at the end is what an uninterrupted run leaves."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from distill_bench.catalogue import method_files, method_module, task_module
from tests.conftest import make_plan, smoke_words
from tests.processes.contents import contents

KILLS = 10
TRAIN_NOTHING = {"external", "pretrained"}
LONGER = {
    "iterations": 60,
    "pool_steps": 20,
    "estimator_steps": 40,
    "scorer_steps": 20,
}  # fields, for more moments


def words_of(method: str) -> list[str]:
    """A smoke run whose loops last a little longer, saved at every step."""
    module = method_module(method)
    fields = [f"method.{key}={value}" for key, value in LONGER.items() if hasattr(module.Config(), key)]
    lasting = {"protocol": "protocol.epochs=20", "recipe": "recipe.steps=60"}
    groups = {*module.INFO.uses, *task_module(module.INFO.task).MEASURED_WITH}
    fields += [word for group, word in lasting.items() if group in groups]
    return [*smoke_words(method), "checkpoint_seconds=0", *fields]


def _execute(words: list[str], roots: Path) -> None:
    from distill_bench.interrupt import Interrupt
    from distill_bench.runner import execute

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    execute(make_plan(*words, roots=roots), Interrupt())


def start(words: list[str], roots: Path) -> multiprocessing.process.BaseProcess:
    """The run in a process of its own, forked: it need not import anything."""
    process = multiprocessing.get_context("fork").Process(target=_execute, args=(words, roots))
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", sorted(method_files().keys() - {"external", "pretrained"})
)  # which train nothing
def test_a_run_killed_ten_times_leaves_what_an_uninterrupted_one_leaves(tmp_path: Path, method: str) -> None:
    words, whole, killed = words_of(method), tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    process = start(words, whole)
    process.join()
    assert process.exitcode == 0
    duration = time.monotonic() - began
    moments, kills = random.Random(method), 0
    while kills < KILLS:
        process = start(words, killed)
        process.join(moments.uniform(0.02, 0.7) * duration)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        if process.exitcode == 0 and kills < KILLS:
            shutil.rmtree(killed)  # it was done: once more from the beginning
    process = start(words, killed)
    process.join()
    assert process.exitcode == 0
    assert contents(killed) == contents(whole)
