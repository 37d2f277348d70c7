"""Heavy packages are loaded at their first use, so that `--help` and a config error are instant.

Methods and tasks import what they need at the top, as any module does; while they are only being looked up
(their `Config` and `INFO`), nobody has time for torch. After `install`, importing a package in `HEAVY` only
finds it; its first attribute loads it. The standard library's `LazyLoader` would do, but (seen on Python
3.11) a second `import` of a pending module loads it, because the import system itself asks for `__spec__`.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ["HEAVY", "install", "lazy_names", "load"]

HEAVY = frozenset(
    {"torch", "numpy", "scipy", "sklearn", "diffusers", "filelock"}
    | {f"distill_bench.{part}" for part in ("attacks", "augment", "data", "distillation", "evaluation")}
    | {f"distill_bench.{part}" for part in ("generative", "information", "mixtures")}
    | {
        f"distill_bench.{part}"
        for part in ("models", "products", "reporting", "seeding", "selection", "training")
    }
)


_KNOWN_BEFORE = ("__spec__", "__class__", "__name__", "__file__")  # torch asks all modules for their file


class _Pending(ModuleType):
    """A module that has been found and not yet executed."""

    def __getattribute__(self, name: str) -> Any:
        if name in _KNOWN_BEFORE:
            return super().__getattribute__(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        loader = self.__spec__.loader if self.__spec__ else None
        assert loader is not None
        try:
            loader.exec_module(self)
        except BaseException:
            self.__class__ = _Pending  # half a module is none: its next use tries again
            raise
        return getattr(self, name)


class _Later(Loader):
    """Leaves the execution of a module to its first use."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        module.__class__ = _Pending


class _Finder(MetaPathFinder):
    """Finds the packages in `HEAVY` as usual, but leaves their execution for later."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in HEAVY:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


def install() -> None:
    """From now on, importing a heavy package only finds it."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def lazy_names(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that is cheap to import: it loads a public name when it is first used.

    `modules` are the names by the module of the package that holds them.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return attribute


def load() -> None:
    """Execute what is pending, and defer nothing more. Called before work starts, while there is one
    thread."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name in sorted(HEAVY & sys.modules.keys()):
        _ = sys.modules[name].__doc__
