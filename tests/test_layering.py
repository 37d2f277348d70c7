"""Imports only point downwards: base, shared parts, methods, tasks, application."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "distill_bench"
SHARED = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} - {"methods", "tasks"}
APPLICATION = {"app", "catalogue", "config", "help", "overrides", "runner", "sweeps"}


def layer(module: str) -> int:
    """0 base, 1 shared parts, 2 methods, 3 tasks, 4 application."""
    part = module.removeprefix("distill_bench").lstrip(".").split(".")[0]
    return {"methods": 2, "tasks": 3}.get(part, 1 if part in SHARED else 4 if part in APPLICATION else 0)


def imported(file: Path) -> set[str]:
    """Modules of this package that `file` imports when it runs (not those for type checking alone)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "distill_bench"
                else []
            )
            found.update(whole or [node.module])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text()))
    return {
        name for name in found if name.startswith("distill_bench.") and name != "distill_bench.__version__"
    }


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_only_point_downwards(file: Path) -> None:
    module = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
    here = layer(module)
    for name in imported(file):
        assert layer(name) <= here, f"{module} imports {name}"
        if here == 2:
            assert layer(name) < 2, f"method {module} imports method {name}"


def test_shared_parts_import_each_other_without_a_cycle() -> None:
    uses = {part: set[str]() for part in SHARED}
    for part in SHARED:
        for file in (PACKAGE / part).rglob("*.py"):
            uses[part] |= {name.split(".")[1] for name in imported(file)} & (SHARED - {part})
    while uses:
        leaves = [part for part, needs in uses.items() if not needs & uses.keys()]
        assert leaves, f"a cycle among {sorted(uses)}"
        for part in leaves:
            del uses[part]


def test_nothing_imports_the_application() -> None:
    for file in FILES:
        module = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
        if layer(module) < 4:
            assert not {name for name in imported(file) if layer(name) == 4}
