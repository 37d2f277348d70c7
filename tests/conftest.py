"""What many tests share: runs made inside this process, and the command line in one of its own."""

from __future__ import annotations

import copy
import importlib
import os
import re

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests are small: threads would only wait for one another

import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest
import yaml

from distill_bench import deferred
from distill_bench.catalogue import method_module, task_module
from distill_bench.context import Context
from distill_bench.interrupt import Interrupt
from distill_bench.overrides import plain_words
from distill_bench.planning import Plan, ProductPlan, compose, plan_run

REPOSITORY = Path(__file__).resolve().parent.parent


def _parse_each_text_once() -> None:
    """Hydra parses the files of conf/ anew for each composition: two fifths of the time of planning a run."""
    parse, parsed = yaml.load, dict[tuple[str, str], Any]()

    def load(stream: str | bytes | IO[str], Loader: Any) -> Any:
        text = stream if isinstance(stream, (str, bytes)) else stream.read()
        key = str(text), Loader.__name__
        if key not in parsed:
            parsed[key] = parse(text, Loader=Loader)
        return copy.deepcopy(parsed[key])

    yaml.load = load


_parse_each_text_once()


@pytest.fixture(autouse=True)
def _no_wandb_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's settings, tests stay offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")


def make_plan(*words: str, roots: Path) -> Plan:
    """The plan of one run, with all its folders under `roots`."""
    folders = [f"{name}_root={roots / name}" for name in ("products", "runs", "cache", "tables")]
    composition = compose(plain_words([*words, *folders]))
    return plan_run(composition.config, composition.choices, composition.words)


def smoke_words(method: str) -> list[str]:
    """The words of a run of seconds: those of its task, for the groups that the method uses."""
    info = method_module(method).INFO
    task = task_module(info.task)
    groups = {*info.uses, *info.uses_when, *task.MEASURED_WITH}
    words = [word for word in task.SMOKE if re.split("[.=]", word)[0] in groups]
    return [f"method={method}", "profile=smoke", *words]


def made_parts(plan: Plan) -> list[ProductPlan]:
    """The products that are made for the product of the plan."""
    return [part for _, part in plan.product.parts if isinstance(part, ProductPlan)]


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
    names = ("products", "runs", "cache", "tables")
    folders = {f"DISTILL_BENCH_{name.upper()}": str(roots / name) for name in names}
    return {**os.environ, **folders, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Words of the command line -> what became of them, in a process of their own and a folder of this test.

    The process is forked, so that it need not import everything again.
    """
    _import_everything()

    def run(*words: str, roots: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = os.fork()
            if not process:
                _become_the_program(list(words), roots, out, err)
            _, status = os.waitpid(process, 0)
            texts = [(file.seek(0), file.read())[1] for file in (out, err)]
        return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *texts)

    return run


@cache
def _import_everything() -> None:
    """What runs need, once for all processes that are forked."""
    for name in (
        "app",
        "runner",
        "generative",
        "information",
        "matching",
        "mixtures",
        "selection",
        "training",
    ):
        importlib.import_module(f"distill_bench.{name}")
    deferred.load()


def _become_the_program(words: list[str], roots: Path, out: IO[str], err: IO[str]) -> NoReturn:
    """Run the command line in this process, which ends with its exit code."""
    code = 1
    try:
        for number, file, name in ((1, out, "stdout"), (2, err, "stderr")):
            os.dup2(file.fileno(), number)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        os.environ.update(command_environment(roots))
        os.chdir(roots)
        from distill_bench.app import main

        main(words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `command`, in a fresh interpreter: `python run.py`."""

    def run(*words: str, roots: Path = tmp_path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(REPOSITORY / "run.py"), *words]
        environment = command_environment(roots)
        return subprocess.run(
            line, cwd=roots, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
