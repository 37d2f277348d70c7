"""`student=`: the networks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["NETWORK_FIELDS", "Norm", "Pooling", "StudentConfig"]

_CONVNET = frozenset({"width", "depth", "norm", "pooling"})

NETWORK_FIELDS: dict[str, frozenset[str]] = {
    "convnet": _CONVNET,
    "convnet6": _CONVNET,
    "alexnet": frozenset(),
    "vgg11": frozenset({"norm"}),
    "resnet18": frozenset({"norm"}),
    "resnetap10": frozenset({"norm"}),
}
"""The networks of this package, and the fields of the group that each uses. A model of timm uses none."""


class Norm(Enum):
    """Normalisation layers of the students."""

    instance = "instance"
    batch = "batch"
    group = "group"  # 4 groups
    layer = "layer"
    none = "none"


class Pooling(Enum):
    """Pooling after each block of a ConvNet."""

    avg = "avg"
    max = "max"
    none = "none"


@dataclass(kw_only=True)
class StudentConfig(Group):
    """the network that distils, and is trained from scratch in the evaluation."""

    name: str = "convnet"  # a key of NETWORK_FIELDS, or any model name of timm
    width: int = 128  # channels of each ConvNet block (other networks have their own)
    depth: int = 0  # ConvNet blocks; 0: by resolution (8: 2, 28 and 32: 3, 64: 4, 128: 5, 256: 6)
    norm: Norm = Norm.instance
    pooling: Pooling = Pooling.avg

    def __post_init__(self) -> None:
        require(1 <= self.width <= 4096, "student.width", self.width, "from 1 to 4096")
        require(
            0 <= self.depth <= 8, "student.depth", self.depth, "from 1 to 8, or 0 to follow the resolution"
        )

    def unused(self) -> frozenset[str]:
        """The fields of ConvNet that the network does not have."""
        return _CONVNET - NETWORK_FIELDS.get(self.name, frozenset())

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name."""
        return {"student": choice}
