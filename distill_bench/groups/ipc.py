"""`ipc=`: synthetic images per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["IpcConfig"]


@dataclass(kw_only=True)
class IpcConfig(Group):
    """synthetic images per class (any number)."""

    LABELLED: ClassVar[frozenset[str]] = frozenset({"images_per_class"})

    images_per_class: int = 10

    def __post_init__(self) -> None:
        require(self.images_per_class >= 1, "ipc.images_per_class", self.images_per_class, ">= 1")

    def label(self, choice: str) -> dict[str, Any]:  # noqa: ARG002
        """Images per class."""
        return {"ipc": self.images_per_class}
