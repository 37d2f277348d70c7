"""`attack=`: what changes a test image to make a network err."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["AttackConfig", "AttackKind", "AttackLoss", "AttackNorm"]


class AttackKind(Enum):
    """How the changed image is found."""

    none = "none"  # it is not looked for
    noise = "noise"  # uniform draws from the ball: a control that knows nothing of the network
    fgsm = "fgsm"  # one step of eps from the image along the gradient
    pgd = "pgd"  # steps along the gradient, each followed by the projection on the ball and the box


class AttackLoss(Enum):
    """What an attack makes large, of logits z and the label y."""

    ce = "ce"  # cross-entropy
    margin = "margin"  # max over c != y of z_c, minus z_y: above 0 exactly where the network errs


class AttackNorm(Enum):
    """How far a changed image is from the image: of the difference of pixels in [0, 1]."""

    linf = "linf"  # the largest
    l2 = "l2"  # Euclidean, over all channels and pixels


_BALL = frozenset({"name", "kind", "norm", "eps", "images"})
_USED: dict[AttackKind, frozenset[str]] = {
    AttackKind.none: frozenset(),
    AttackKind.noise: _BALL | {"restarts"},
    AttackKind.fgsm: _BALL | {"loss"},
    AttackKind.pgd: _BALL | {"loss", "step", "steps", "restarts", "random_start"},
}
_LARGEST = {AttackNorm.linf: 1.0, AttackNorm.l2: 20.0}  # an eps in 1/255 is above it, and so found


@dataclass(kw_only=True)
class AttackConfig(Group):
    """how test images are changed, within a small distance, to make a network err (robust accuracy)."""

    name: str = "none"
    kind: AttackKind = AttackKind.none  # none | noise | fgsm | pgd
    loss: AttackLoss = AttackLoss.ce  # ce | margin
    norm: AttackNorm = AttackNorm.linf  # linf | l2
    eps: float = 8 / 255  # radius of the ball, of pixels in [0, 1]; 0 changes nothing: the negative control
    step: float = 2 / 255  # length of a step in the same unit, at most eps
    steps: int = 10
    restarts: int = 1  # searches from starts of their own; of noise: draws
    random_start: bool = True  # start at a uniform draw from the ball instead of at the image
    images: int = 0  # test images: a subset with equal classes, the same for every run; 0: all

    def __post_init__(self) -> None:
        used, largest = _USED[self.kind], _LARGEST[self.norm]
        if "eps" in used:
            allowed = f"from 0 to {largest:g} ({self.norm.name}, pixels in [0, 1]: 8/255 is 0.031373)"
            require(0 <= self.eps <= largest, "attack.eps", self.eps, allowed)
            require(self.images >= 0, "attack.images", self.images, ">= 1, or 0 for all")
        if "restarts" in used:
            require(self.restarts >= 1, "attack.restarts", self.restarts, ">= 1")
        if "steps" in used:
            self._check_steps()

    def _check_steps(self) -> None:
        """The step is checked against eps because codes that swap the two weaken the attack unseen."""
        require(self.steps >= 1, "attack.steps", self.steps, ">= 1")
        require(self.step > 0, "attack.step", self.step, f"> 0 for {self.steps} steps")
        fits = self.step <= self.eps or self.eps == 0
        require(fits, "attack.step", self.step, f"at most attack.eps ({self.eps:g})")
        allowed = "1 without attack.random_start: all searches would be the same"
        require(self.random_start or self.restarts == 1, "attack.restarts", self.restarts, allowed)

    def __bool__(self) -> bool:
        """Whether there is an attack."""
        return self.kind is not AttackKind.none

    def unused(self) -> frozenset[str]:
        """The fields that this kind of attack does not have; all of them where there is no attack."""
        return frozenset(field.name for field in fields(self)) - _USED[self.kind]

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name."""
        return {"attack": choice}
