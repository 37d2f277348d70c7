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
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from distill_bench.catalogue import conf_dir
from distill_bench.config import Plan, plan_run
from distill_bench.contract import Context
from distill_bench.interrupt import Interrupt
from distill_bench.overrides import quote_numbers

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_wandb_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's settings, tests stay offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")


def make_plan(*words: str, roots: Path) -> Plan:
    """The plan of one run, with all its folders under `roots`."""
    folders = [f"{name}_root={roots / name}" for name in ("runs", "cache", "results")]
    overrides = quote_numbers([*words, *folders])
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        config = compose("config", overrides=overrides, return_hydra_config=True)
    choices = config.hydra.runtime.choices
    given = list(config.hydra.overrides.task)
    with open_dict(config):
        del config["hydra"]
    return plan_run(config, choices, given)


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
    """Words of the command line -> the context of the run, with its data set loaded."""

    def make(*words: str) -> Context:
        from distill_bench import data
        from distill_bench.runner import make_context

        ctx = make_context(make_plan(*words, roots=tmp_path), Interrupt())
        ctx.folder.path.mkdir(parents=True, exist_ok=True)
        ctx.dataset = data.load(ctx.dataset_config, ctx.data_root, ctx.cache, ctx.device, ctx.seed)
        return ctx

    return make


def command_environment(roots: Path) -> dict[str, str]:
    """The environment of a process whose folders are under `roots`; one thread, so that bits can be
    compared."""
    folders = {f"DISTILL_BENCH_{name.upper()}": str(roots / name) for name in ("runs", "cache")}
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
