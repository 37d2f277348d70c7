"""What a method or a task may use: a run, its declared groups, its data set, and the products it is made
from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from distill_bench.contract import ProductSpec
from distill_bench.groups import GROUPS
from distill_bench.running import Run

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["Context"]

T = TypeVar("T")


@dataclass(kw_only=True)
class Context(Run):
    """A `Run` with what its method or task has declared; anything else is an error of the method's author."""

    owner: str  # the method or the task, for messages
    groups: Mapping[str, Any]
    load_dataset: Callable[[], ImageDataset]
    load_part: Callable[[ProductSpec], Any]
    _dataset: ImageDataset | None = field(default=None, repr=False)

    def group(self, kind: type[T]) -> T:
        """The group of this class, e.g. ``ctx.group(StudentConfig)``. RuntimeError if it was not declared."""
        name = next(name for name, group in GROUPS.items() if group is kind)
        if name not in self.groups:
            declared = ", ".join(self.groups)
            raise RuntimeError(f"{self.owner} asks for the group {name}, but declares: {declared}")
        value: T = self.groups[name]
        return value

    def group_in_use(self, kind: type[T]) -> T | None:
        """The group of this class where the config depends on it (`MethodInfo.uses_when`), else None."""
        return self.group(kind) if any(GROUPS[name] is kind for name in self.groups) else None

    @property
    def dataset(self) -> ImageDataset:
        """The images, loaded when they are first asked for; a checkpoint made on other images is not gone on
        from."""
        if self._dataset is None:
            self._dataset = self.load_dataset()
            self.checkpoints.about["data"] = self._dataset.fingerprint
        return self._dataset

    def product(self, spec: ProductSpec) -> Any:
        """The product that `spec` names, made in its own folder if it is not there.

        RuntimeError if the method's `parts` do not declare it: it would be no part of the product's identity.
        """
        return self.load_part(spec)

    def products(self, kind: type[T]) -> list[Any]:
        """The products that the group of this class stands for, in order: teachers, a training set.

        None for ``teacher=none`` and ``trainset=full``. RuntimeError if the group was not declared."""
        group: Any = self.group(kind)
        return [self.load_part(spec) for spec in group.specs()]
