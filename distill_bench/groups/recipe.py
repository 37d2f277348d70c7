"""`recipe=`: how a network is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from distill_bench.errors import UserError, require
from distill_bench.groups.group import Group

__all__ = ["Augmentation", "Optimiser", "Recipe", "RecipeConfig", "Schedule"]


class Optimiser(Enum):
    """What takes the steps."""

    sgd = "sgd"  # with momentum, and weight decay on everything
    nesterov = "nesterov"  # the same with Nesterov's momentum
    adamw = "adamw"  # betas 0.9 and 0.999; weight decay on matrices and kernels alone


class Schedule(Enum):
    """The learning rate over the E epochs."""

    constant = "constant"
    steps = "steps"  # x lr_drop at each of the milestones
    cosine = "cosine"  # from 1 to 0 along a cosine, step by step
    one_cycle = "one_cycle"  # up from 1/25 for 30 % of the steps, then down to 1/250,000, along cosines
    drop = "drop"  # E + 1 epochs 0 .. E; x lr_drop once, past the middle, where the momentum is lost
    two_drops = "two_drops"  # x lr_drop at 2/3 and at 5/6
    half_cosine = "half_cosine"  # from 1 to 1/2 along half a cosine, epoch by epoch


class Augmentation(Enum):
    """How training images are augmented."""

    siamese = "siamese"  # differentiable siamese augmentation, one family a batch
    crop = "crop"  # random-resized-crop and flip, then colour jitter and lighting if they are above 0
    pad_crop = "pad_crop"  # zeros around the image, a crop of its size, flip, and a rotation if above 0


@dataclass(kw_only=True)
class Recipe(Group):
    """The fields of every training: those of `recipe=`, and of a protocol's students."""

    PLACE: ClassVar[str] = "recipe"  # the group's name, for messages

    name: str = "full_data"
    epochs: int = 1000  # E
    steps: int = 0  # above 0: as many optimisation steps in place of epochs, in whole epochs, at least one
    batch_size: int = 256
    drop_last: bool = False  # leave out the last batch of an epoch where it is smaller
    optimiser: Optimiser = Optimiser.sgd
    lr: float = 0.01
    momentum: float = 0.9  # of SGD, in [0, 1)
    weight_decay: float = 5e-4
    schedule: Schedule = Schedule.drop
    milestones: list[float] = field(default_factory=list)  # of schedule=steps: shares of the epochs
    lr_drop: float = 0.1  # factor at a drop or a milestone
    warmup: float = 0.0  # epochs over which the rate rises from 0, step by step
    augment: bool = True
    augmentation: Augmentation = Augmentation.siamese
    pad: int = 4  # of pad_crop: pixels
    rotation: float = 0.0  # of pad_crop: largest angle in degrees
    crop_area: float = 1.0  # of crop: least share of the image, 1: no crop
    colour_jitter: float = 0.0  # of crop: half-width of the factors of brightness, contrast and saturation
    lighting: float = 0.0  # of crop: standard deviation along the principal colours
    cutmix: bool = False  # on every batch
    clip: float = 0.0  # largest norm of a network's gradient, 0: any
    ema: float = 0.0  # decay of the average of the weights, which is kept; 0: the weights themselves

    def __post_init__(self) -> None:
        here = self.PLACE
        for key in ("epochs", "batch_size"):
            require(getattr(self, key) >= 1, f"{here}.{key}", getattr(self, key), ">= 1")
        require(self.lr > 0, f"{here}.lr", self.lr, "> 0")
        for key in ("steps", "weight_decay", "lighting", "warmup", "pad", "clip"):
            require(getattr(self, key) >= 0, f"{here}.{key}", getattr(self, key), ">= 0")
        require(0 < self.lr_drop <= 1, f"{here}.lr_drop", self.lr_drop, "in (0, 1]")
        for key in ("momentum", "colour_jitter", "ema"):
            require(0 <= getattr(self, key) < 1, f"{here}.{key}", getattr(self, key), "in [0, 1)")
        require(0 < self.crop_area <= 1, f"{here}.crop_area", self.crop_area, "in (0, 1]")
        require(0 <= self.rotation <= 180, f"{here}.rotation", self.rotation, "from 0 to 180 degrees")
        fits = self.optimiser is not Optimiser.nesterov or self.momentum > 0
        require(fits, f"{here}.momentum", self.momentum, f"above 0 for {here}.optimiser=nesterov")
        self._check_milestones()

    def milestone_epochs(self, epochs: int) -> list[int]:
        """The epochs, of so many, that begin at a milestone. UserError where two of them fall together.

        Of a run that has no more epochs than milestones, as `profile=smoke` cuts it short, they may.
        """
        at = [round(share * epochs) for share in self.milestones]
        if epochs <= len(at):
            return [min(max(1, epoch), max(1, epochs - 1)) for epoch in at]
        if any(b <= a for a, b in zip([0, *at], [*at, epochs], strict=False)):
            raise UserError(
                f"{self.PLACE}.milestones={self.milestones}: they do not fit {epochs} epochs: "
                f"they would begin epochs {', '.join(map(str, at))}"
            )
        return at

    def _check_milestones(self) -> None:
        place, shares = f"{self.PLACE}.milestones", self.milestones
        if self.schedule is not Schedule.steps:
            require(not shares, place, shares, f"[] but for {self.PLACE}.schedule=steps")
            return
        allowed = "shares of the epochs: in (0, 1), each above the one before"
        if any(share >= 1 for share in shares):
            example = f"{shares[0]:g} of {self.epochs} epochs is {shares[0] / self.epochs:.4g}"
            allowed += f" ({example})" if 0 < shares[0] < self.epochs else ""
        fits = bool(shares) and all(b > a for a, b in zip([0, *shares], [*shares, 1], strict=False))
        require(fits, place, shares, allowed)
        if not self.steps:
            self.milestone_epochs(self.epochs)


@dataclass(kw_only=True)
class RecipeConfig(Recipe):
    """how a classifier is trained: optimiser, schedule, augmentation, batches and epochs."""

    def unused(self) -> frozenset[str]:
        """Fields of other schedules, augmentations and optimisers."""
        plain = {"crop_area", "colour_jitter", "lighting"}
        padded = {"pad", "rotation"}
        other = {"siamese": plain | padded, "crop": padded, "pad_crop": plain}[self.augmentation.name]
        none = {"augmentation", *plain, *padded} if not self.augment else other
        drops = self.schedule in (Schedule.steps, Schedule.drop, Schedule.two_drops)
        return frozenset(
            {
                *none,
                *(set() if drops else {"lr_drop"}),
                *({"milestones"} if self.milestones and self.schedule is not Schedule.steps else set()),
                *({"momentum"} if self.optimiser is Optimiser.adamw else set()),
                *({"epochs"} if self.steps else set()),
            }
        )

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name."""
        return {"recipe": choice}
