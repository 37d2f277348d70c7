"""The commands that the README promises exist."""

from __future__ import annotations

import subprocess

import pytest

from distill_bench.catalogue import group_options
from tests.conftest import REPOSITORY


def make(*words: str) -> str:
    """What make would do, without doing it."""
    return subprocess.run(["make", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_help_lists_every_command() -> None:
    listed = make("help")
    for target in ("demo", "test", "test-slow", "lint", "report", "clean", "table-", "publish-"):
        assert f"make {target}" in listed


TABLES = """
datadam-1 datadam-2 atom-1 d2m-1 distillation-1 minimax-1 mgd3-1 igds-1 igds-2 difficulty-2 baselines-1
oggmr-1
"""


@pytest.mark.parametrize("table", TABLES.split())
def test_a_table_is_an_experiment(table: str) -> None:
    planned = make("--dry-run", f"table-{table}", "PROFILE=smoke")
    experiment = table.replace("-", "_table")
    assert f"run.py experiment={experiment} profile=smoke" in planned
    assert experiment in group_options("experiment")


def test_continuous_integration_runs_lint_test_and_demo() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make")] == ["make lint", "make test", "make demo"]
