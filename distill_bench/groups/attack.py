"""`attack=`: how a classifier is tried beside its clean test images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["AttackConfig", "AttackLoss", "AttackNorm"]


class AttackLoss(Enum):
    """What is maximised within the budget."""

    ce = "ce"  # cross-entropy with the label
    margin = "margin"  # the largest other logit less the label's own: Carlini and Wagner's
    noise = "noise"  # nothing: a random image within the budget


class AttackNorm(Enum):
    """The norm that bounds the change of an image, all pixels and channels together."""

    linf = "linf"
    l2 = "l2"


@dataclass(kw_only=True)
class AttackConfig(Group):
    """how classifiers are attacked when they are measured: white box, on pixels in [0, 1], labels known."""

    name: str = "none"
    loss: AttackLoss = AttackLoss.ce
    norm: AttackNorm = AttackNorm.linf
    eps: float = 8 / 255  # the budget: largest norm of the change, in units of pixels in [0, 1]
    step: float = 2 / 255  # length of a step in that norm, at most eps
    steps: int = 10
    restarts: int = 1  # an image is broken if any of them breaks it
    random_start: bool = True  # uniform within the budget
    images: int = 0  # so many test images, of all classes alike, drawn once; 0: all

    def __post_init__(self) -> None:
        largest = 1.0 if self.norm is AttackNorm.linf else 1000.0
        allowed = f"from 0 to {largest:g}: pixels lie in [0, 1] (8/255 is 0.03137)"
        require(0 <= self.eps <= largest, "attack.eps", self.eps, allowed)
        require(self.step >= 0, "attack.step", self.step, ">= 0")
        iterated = self.name != "none" and self.loss is not AttackLoss.noise
        if iterated and self.eps:
            require(self.step <= self.eps, "attack.step", self.step, f"at most attack.eps = {self.eps:g}")
        require(self.steps >= 1, "attack.steps", self.steps, ">= 1")
        require(self.restarts >= 1, "attack.restarts", self.restarts, ">= 1")
        useful = self.restarts == 1 or self.random_start
        require(useful, "attack.restarts", self.restarts, "1 without a random start: all would be alike")
        require(self.images >= 0, "attack.images", self.images, ">= 0")

    def __bool__(self) -> bool:
        """Whether there is an attack."""
        return self.name != "none"

    def unused(self) -> frozenset[str]:
        """Everything without an attack; the steps of noise."""
        if not self:
            return frozenset(self.__dataclass_fields__) - {"name"}
        return frozenset({"step", "steps", "random_start"}) if self.loss is AttackLoss.noise else frozenset()

    def identity(self) -> dict[str, Any]:
        """Nothing without an attack, so that such results keep their names."""
        return super().identity() if self else {}

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name."""
        return {"attack": choice}
