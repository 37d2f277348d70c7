"""The README says what there is: its commands can be planned, and its method runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_bench.catalogue import group_options, method_files
from distill_bench.planning import Plan
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
COMMANDS = re.findall(r"^ +(?:\$ )?python run\.py ([^#\n]+)", README, re.MULTILINE)
REFUSED = "method=datadm"  # the README shows how a wrong word is met


def single(words: list[str]) -> list[str]:
    """The words of the first run of a sweep."""
    return [word.split(",")[0] for word in words if word != "-m" and not word.startswith("hydra")]


@pytest.mark.parametrize("name", sorted(method_files()))
def test_every_method_is_named(name: str) -> None:
    assert f"`{name}`" in README, f"add `{name}` to the README's table of methods"


def test_every_link_leads_somewhere() -> None:
    for place in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / place).exists(), place


@pytest.mark.parametrize(
    "command", [words for words in COMMANDS if "help" not in words and REFUSED not in words]
)
def test_every_command_can_be_planned(
    command: str, plan: Callable[..., Plan], run_cell: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "set.pt").touch()
    place = {"generator.path=DIR": f"generator.path={tmp_path}"}
    for group, made_by in (
        ("teacher", ("method=ce", "student=mlp")),
        ("trainset", ("method=random", "ipc=1")),
    ):
        if f"{group}=runs/<id>" in command:
            made = run_cell(*made_by, "dataset=digits", "profile=smoke")
            place[f"{group}=runs/<id>"] = f"{group}={tmp_path / 'runs' / made['run_id']}"
    words = [place.get(word, word) for word in shlex.split(command)]
    words = [word.replace("/path/to", str(tmp_path)) for word in single(words)]
    assert plan(*words).run_id


def test_every_table_is_an_experiment() -> None:
    tables = set(re.findall(r"make table-(\w+)-(\w+)", README)) - {("mymethod", "1")}
    assert {f"{paper}_table{number}" for paper, number in tables} <= set(group_options("experiment"))


def blocks_after(line: str) -> str:
    """The indented block that follows the line of the README in which `line` stands."""
    rest = README.split(line, 1)[1].split("\n", 1)[1]
    block: list[str] = []
    for text in rest.splitlines():
        if text.startswith("       ") or not text.strip():
            block.append(text)
        elif any(block):
            break
    return textwrap.dedent("\n".join(block)).strip() + "\n"


@pytest.mark.slow
def test_the_method_of_the_readme_runs(tmp_path: Path) -> None:
    for name in ("distill_bench", "conf"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "results" / "reference", tmp_path / "results" / "reference")
    shutil.copy(REPOSITORY / "run.py", tmp_path)
    method = tmp_path / "distill_bench" / "methods" / "dataset_distillation" / "mymethod.py"
    method.write_text(blocks_after("This one is complete and runs"))
    (tmp_path / "conf" / "method" / "mymethod.yaml").write_text(blocks_after("the bounds\n   of the small"))
    process = subprocess.run(
        [sys.executable, "run.py", "method=mymethod", "ipc=2", "profile=smoke"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert list(tmp_path.glob("runs/mymethod_digits_ipc2_*/result.json"))
