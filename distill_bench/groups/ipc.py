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

    LABELLED: ClassVar[frozenset[str]] = frozenset({"images_per_class", "canvas"})

    images_per_class: int = 10  # IPC; where several images share a canvas, the number of canvases
    canvas: int = 1  # images a side of a canvas: that of the protocol, unless an experiment is about it

    def __post_init__(self) -> None:
        require(self.images_per_class >= 1, "ipc.images_per_class", self.images_per_class, ">= 1")
        require(self.canvas >= 1, "ipc.canvas", self.canvas, ">= 1")

    def idle(self) -> frozenset[str]:
        """A canvas of one image is that image."""
        return frozenset({"canvas"}) if self.canvas == 1 else frozenset()

    @property
    def drawn(self) -> int:
        """How many images of each class a method makes: IPC canvases, each of canvas x canvas images."""
        return self.canvas**2 * self.images_per_class

    def label(self, choice: str) -> dict[str, Any]:  # noqa: ARG002
        """IPC; where a canvas holds several images, with their number: ``10x4``."""
        canvases = self.images_per_class
        return {"ipc": canvases if self.canvas == 1 else f"{canvases}x{self.canvas**2}"}
