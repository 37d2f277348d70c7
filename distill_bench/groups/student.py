"""`student=`: the networks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from distill_bench.architectures import FIELDS, architecture
from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["Norm", "Pooling", "StudentConfig"]


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

    name: str = "convnet"  # a name of `architectures`, or any model name of timm
    width: int = 128  # channels of each ConvNet block, units of each hidden layer of an MLP
    depth: int = 0  # blocks of a ConvNet, hidden layers of an MLP; 0: by resolution (see `depth_for`), two
    norm: Norm = Norm.instance
    pooling: Pooling = Pooling.avg

    def __post_init__(self) -> None:
        require(1 <= self.width <= 4096, "student.width", self.width, "from 1 to 4096")
        require(
            0 <= self.depth <= 8, "student.depth", self.depth, "from 1 to 8, or 0 to follow the resolution"
        )
        architecture(self.name)  # which refuses a name that no network can have

    @property
    def batch_norm(self) -> bool:
        """Whether the images of a batch see each other; not known of timm's networks, for which it is
        False."""
        facts = architecture(self.name)
        return facts.batch_norm or ("norm" in facts.fields and self.norm is Norm.batch)

    def unused(self) -> frozenset[str]:
        """The fields that do not change the network."""
        return FIELDS - architecture(self.name).fields

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name."""
        return {"student": choice}
