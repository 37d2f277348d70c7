"""Imports only point downwards; shared rooms do not know the context; methods do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "distill_bench"
LAYERS = [
    {"errors", "files", "seeding", "interrupt", "progress", "deferred", "metrics"},
    {"groups", "catalogue", "store", "tracking", "device", "provenance"},
    {"contract", "run", "context"},
    {"augment", "data", "models", "mixtures", "reporting", "products"},
    {"attacks", "training", "information", "matching", "generative", "selection"},
    {"methods"},
    {"tasks"},
    {"overrides"},
    {"planning"},
    {"runner", "sweeps", "help"},
    {"app"},
]
NAMES_CONTEXT = {"methods", "tasks", "runner", "context"}


def layer(module: str) -> int:
    part = module.removeprefix("distill_bench").lstrip(".").split(".")[0]
    return next((i for i, names in enumerate(LAYERS) if part in names), 0)


def imported(file: Path) -> set[str]:
    """Modules of this package that `file` imports when it runs (not those for type checking alone)."""
    modules: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "distill_bench"
                else []
            )
            modules.update(whole or [node.module])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text()))
    return {
        name for name in modules if name.startswith("distill_bench.") and name != "distill_bench.__version__"
    }


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_part_of_the_package_has_its_layer() -> None:
    parts = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__"} == set().union(*LAYERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_only_point_downwards(file: Path) -> None:
    module = module_of(file)
    if module == "distill_bench.__init__":
        return  # the package's face
    here = layer(module)
    for name in imported(file):
        assert layer(name) <= here, f"{module} imports {name}"
        if "methods" in LAYERS[here]:
            assert layer(name) < here, f"method {module} imports method {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_methods_tasks_and_the_runner_name_the_context(file: Path) -> None:
    if module_of(file).split(".")[1] not in NAMES_CONTEXT:
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert "Context" not in names


def test_rooms_import_each_other_without_a_cycle() -> None:
    rooms = LAYERS[3] | LAYERS[4]
    uses = {part: set[str]() for part in rooms}
    for part in rooms:
        for file in (PACKAGE / part).rglob("*.py"):
            uses[part] |= {name.split(".")[1] for name in imported(file)} & (rooms - {part})
    while uses:
        leaves = [part for part, needs in uses.items() if not needs & uses.keys()]
        assert leaves, f"a cycle among {sorted(uses)}"
        for part in leaves:
            del uses[part]
