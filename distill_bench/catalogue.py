"""What there is: config groups, methods and tasks, found by their file names. Adding one edits no list."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from distill_bench.errors import UserError, closest

__all__ = [
    "borrowed_options",
    "conf_dir",
    "group_options",
    "method_files",
    "method_module",
    "reference_dir",
    "task_module",
    "task_names",
]

_PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """The config folder: beside the package in a checkout, inside it when installed."""
    return next(path for path in (_PACKAGE.parent / "conf", _PACKAGE / "conf") if path.is_dir())


def reference_dir() -> Path:
    """The papers' own numbers: `results/reference` in a checkout, inside the package when installed."""
    places = (_PACKAGE.parent / "results" / "reference", _PACKAGE / "reference")
    return next(path for path in places if path.is_dir())


def group_options(group: str) -> list[str]:
    """The options of a config group, smallest number first; empty for something that is not a group.

    An option in a subfolder is named with it: ``datadam/repo``. Options that need no file of their own (see
    `borrowed_options`) are among them.
    """
    folder = conf_dir() / group
    names = [file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")]
    names += borrowed_options(group)
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def borrowed_options(group: str) -> list[str]:
    """Options of a group that follow from others: teachers are networks of `student=`, training sets are what
    methods of dataset distillation make."""
    if group == "teacher":
        return [file.stem for file in sorted((conf_dir() / "student").glob("*.yaml"))]
    if group == "trainset":
        return [file.stem for file in sorted((_PACKAGE / "methods/dataset_distillation").glob("[!_]*.py"))]
    return []


def method_files() -> dict[str, str]:
    """Every method's module name by the method's name. UserError for two files of one name."""
    modules: dict[str, str] = {}
    for file in sorted((_PACKAGE / "methods").glob("*/[!_]*.py")):
        module = f"distill_bench.methods.{file.parent.name}.{file.stem}"
        if file.stem in modules:
            raise UserError(
                f"method={file.stem}: two files have this name: {modules[file.stem]} and {module}"
            )
        modules[file.stem] = module
    return modules


def method_module(name: str) -> ModuleType:
    """The module of a method: `Config`, `INFO` and `run`. UserError with the closest match for an unknown
    one."""
    files = method_files()
    if name not in files:
        raise UserError(f"method={name}: unknown method; {closest(name, files)}")
    return importlib.import_module(files[name])


def task_names() -> list[str]:
    """Every task, by its module's name."""
    return sorted(file.stem for file in (_PACKAGE / "tasks").glob("[!_]*.py"))


def task_module(name: str) -> ModuleType:
    """The module of a task. UserError with the closest match for an unknown one."""
    if name not in task_names():
        raise UserError(f"task {name}: there is no such task; {closest(name, task_names())}")
    return importlib.import_module(f"distill_bench.tasks.{name}")
