"""`protocol=`: how a synthetic set is measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, ClassVar

from distill_bench.errors import UserError, closest, require
from distill_bench.groups.group import Group

__all__ = ["Augmentation", "Batching", "Labels", "Optimiser", "ProtocolConfig", "Schedule"]


class Batching(Enum):
    """How the evaluation's networks are trained."""

    auto = "auto"  # as measured to be faster on the device at hand
    stacked = "stacked"  # all networks in one vectorised step
    sequential = "sequential"  # one network after another


class Optimiser(Enum):
    """What trains the students."""

    sgd = "sgd"  # with momentum, and weight decay on everything
    adamw = "adamw"  # betas 0.9 and 0.999; weight decay on matrices and kernels alone


class Schedule(Enum):
    """The learning rate over the E epochs."""

    drop = "drop"  # E + 1 epochs 0 .. E; x lr_drop once, past the middle, where the momentum is lost
    two_drops = "two_drops"  # x lr_drop at 2/3 and at 5/6
    half_cosine = "half_cosine"  # from 1 to 1/2 along half a cosine


class Augmentation(Enum):
    """How the students' training images are augmented."""

    siamese = "siamese"  # differentiable siamese augmentation, one family a batch
    crop = "crop"  # random-resized-crop and flip, then colour jitter and lighting if they are above 0


class Labels(Enum):
    """What the students are trained towards."""

    hard = "hard"  # the set's labels: cross-entropy
    soft = "soft"  # those of a teacher of the same architecture, trained on all images: KL divergence


CLASS_CHANGES = (
    "lr",
    "weight_decay",
    "batch_size",
    "batch_factor",
    "epochs_factor",
)  # keys within by_classes


@dataclass(kw_only=True)
class ProtocolConfig(Group):
    """how the product is measured. `accuracy` is selected on nothing."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"batching"})
    ADDED: ClassVar[frozenset[str]] = frozenset({"audit", "ceiling", "full_nets"})
    """Fields that add measures and change no other."""
    FULL_DATA: ClassVar[tuple[str, ...]] = (
        "lr",
        "lr_drop",
        "momentum",
        "weight_decay",
        "batch_size",
        "augment",
        "full_steps",
        "full_nets",
    )
    """Fields on which a network trained on the whole training set depends."""

    name: str = "dc"
    nets: int = 5  # networks trained from scratch on each set
    epochs: int = 1000  # E; with epochs_by_ipc: E at most
    epochs_by_ipc: dict[int, int] = field(
        default_factory=dict
    )  # largest IPC -> E; the last one holds beyond it
    epoch_scale: float = 1.0  # E is divided by it: small data sets take 10
    optimiser: Optimiser = Optimiser.sgd
    lr: float = 0.01
    schedule: Schedule = Schedule.drop
    lr_drop: float = 0.1  # factor at a drop
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4
    batch_size: int = 256
    batch_by_ipc: dict[int, int] = field(default_factory=dict)  # largest IPC -> batch_size
    by_classes: dict[int, dict[str, float]] = field(
        default_factory=dict
    )  # least classes -> what changes from there on
    augment: bool = True
    augmentation: Augmentation = Augmentation.siamese
    crop_area: float = 1.0  # random-resized-crop: least share of the image, 1: no crop
    colour_jitter: float = 0.0  # half-width of the factors of brightness, contrast and saturation
    lighting: float = 0.0  # standard deviation along the principal colours
    cutmix: bool = False  # on every batch
    labels: Labels = Labels.hard
    temperature: float = 20.0  # of soft labels
    best: bool = False  # also report the highest test accuracy of the training: selected on test data
    readings: int = 100  # at most so many looks, evenly spread, the last epoch among them
    students: list[str] = field(default_factory=list)  # further architectures (cross-architecture tables)
    batching: Batching = Batching.auto
    audit: bool = False  # also ask a network trained on the whole training set about the images
    ceiling: bool = False  # also train on the whole training set (once, cached) for comparison
    full_steps: int = 12_000  # optimisation steps on the whole training set, at least one epoch
    full_nets: int = 1  # networks trained on the whole training set

    def __post_init__(self) -> None:
        for key in ("nets", "epochs", "batch_size", "full_steps", "full_nets", "readings"):
            require(getattr(self, key) >= 1, f"protocol.{key}", getattr(self, key), ">= 1")
        for key in ("lr", "epoch_scale", "temperature"):
            require(getattr(self, key) > 0, f"protocol.{key}", getattr(self, key), "> 0")
        for key in ("weight_decay", "lighting"):
            require(getattr(self, key) >= 0, f"protocol.{key}", getattr(self, key), ">= 0")
        require(0 < self.lr_drop <= 1, "protocol.lr_drop", self.lr_drop, "in (0, 1]")
        require(0 <= self.momentum < 1, "protocol.momentum", self.momentum, "in [0, 1)")
        require(0 < self.crop_area <= 1, "protocol.crop_area", self.crop_area, "in (0, 1]")
        require(0 <= self.colour_jitter < 1, "protocol.colour_jitter", self.colour_jitter, "in [0, 1)")
        for key in ("epochs_by_ipc", "batch_by_ipc"):
            table = getattr(self, key)
            fits = all(ipc >= 1 and value >= 1 for ipc, value in table.items())
            require(fits, f"protocol.{key}", table, "a table of IPC and values, all >= 1")
        for key in {key: None for changes in self.by_classes.values() for key in changes}:
            if key not in CLASS_CHANGES:
                raise UserError(f"protocol.by_classes.{key}: unknown key; {closest(key, CLASS_CHANGES)}")

    def full_data(self) -> ProtocolConfig:
        """How networks are trained on the whole training set: as `dc` trains, whatever else the protocol has.

        A protocol with that optimiser and schedule keeps its numbers. So ceilings and teachers of soft labels
        are the same networks: our choice.
        """
        plain_recipe = ProtocolConfig()
        if (self.optimiser, self.schedule) == (plain_recipe.optimiser, plain_recipe.schedule):
            own: dict[str, Any] = {key: getattr(self, key) for key in self.FULL_DATA}
            return replace(plain_recipe, **own, batching=self.batching)
        sizes: dict[str, Any] = {
            "full_steps": self.full_steps,
            "full_nets": self.full_nets,
            "batching": self.batching,
        }
        return replace(plain_recipe, **sizes)

    def product_identity(self) -> dict[str, Any]:
        """A product that uses the protocol uses networks trained on the whole training set, and nothing
        else."""
        recipe = self.full_data()
        return {key: getattr(recipe, key) for key in self.FULL_DATA}
