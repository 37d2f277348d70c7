"""What many tests share: runs made inside this process, and the command line in one of its own."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests are small: threads would only wait for one another

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_bench.context import Context
from distill_bench.interrupt import Interrupt
from distill_bench.overrides import open_mappings, quote_numbers
from distill_bench.planning import Plan, compose, plan_run

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_wandb_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's settings, tests stay offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")


def make_plan(*words: str, roots: Path) -> Plan:
    """The plan of one run, with all its folders under `roots`."""
    folders = [f"{name}_root={roots / name}" for name in ("products", "runs", "cache", "results")]
    composition = compose(open_mappings(quote_numbers([*words, *folders])))
    return plan_run(composition.config, composition.choices, composition.words)


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Words of the command line -> the plan of the run, in a folder of this test."""
    return lambda *words: make_plan(*words, roots=tmp_path)


@pytest.fixture
def run_cell(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Words of the command line -> the result of the run, made in this process in a folder of this test."""

    def run(*words: str, roots: Path = tmp_path) -> dict[str, Any]:
        from distill_bench.runner import execute

        return execute(make_plan(*words, roots=roots), Interrupt())

    return run


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Context]:
    """Words of the command line -> the context of the run's method, with the groups of its task too."""

    def make(*words: str) -> Context:
        from distill_bench.runner import Machine

        plan = make_plan(*words, roots=tmp_path)
        machine = Machine.of(plan.options, Interrupt())
        folder = machine.product_folder(plan.product)
        folder.begin()
        groups, about = plan.product.groups, {"product": "of a test"}
        return machine.context(
            plan.product, folder, owner="a test", groups=groups, about=about, load_part=lambda _: None
        )

    return make


def command_environment(roots: Path) -> dict[str, str]:
    """The environment of a process whose folders are under `roots`; one thread, so that bits can be
    compared."""
    folders = {f"DISTILL_BENCH_{name.upper()}": str(roots / name) for name in ("products", "runs", "cache")}
    return {**os.environ, **folders, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Words of the command line -> the finished process of `python run.py`, in a folder of this test."""

    def run(*words: str, roots: Path = tmp_path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(REPOSITORY / "run.py"), *words]
        environment = command_environment(roots)
        return subprocess.run(
            line, cwd=roots, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
