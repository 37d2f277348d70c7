"""`protocol=`: how a synthetic set is measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, ClassVar

from distill_bench.architectures import architecture, names
from distill_bench.errors import UserError, closest, require
from distill_bench.groups.recipe import Augmentation, Recipe

__all__ = ["Batching", "Initial", "Labels", "Pack", "ProtocolConfig"]


class Batching(Enum):
    """How the evaluation's networks are trained."""

    auto = "auto"  # as measured to be faster on the device at hand
    stacked = "stacked"  # all networks in one vectorised step
    sequential = "sequential"  # one network after another


class Initial(Enum):
    """Laws of fresh parameters. Every network has its own; a protocol may name another."""

    uniform = "uniform"
    """PyTorch's own: weight and bias of convolutions and linear layers are uniform in
    (-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what kaiming_uniform with a = sqrt(5) amounts to."""
    fan_out = "fan_out"
    """Kernels of convolutions are normal with variance 2 / (k^2 C_out) (He et al., ICCV 2015); the rest as
    above."""
    fan_out_no_bias = "fan_out_no_bias"
    """As fan_out, and the biases of linear layers start at 0: the code of wide residual networks."""


class Labels(Enum):
    """What the students are trained towards."""

    hard = "hard"  # the set's labels: cross-entropy
    soft = "soft"  # those of a teacher of the same architecture, trained on all images: KL divergence


class Pack(Enum):
    """How the images of a class come onto a canvas."""

    downscale = "downscale"  # each is averaged down, so that the canvas has the size of one image
    stack = "stack"  # as they are: the canvas is as many times larger


CLASS_CHANGES = {
    "lr": "> 0",
    "weight_decay": ">= 0",
    "batch_size": ">= 1",
    "batch_factor": "> 0",
    "epochs_factor": "> 0",
}
"""Keys within by_classes, and what is allowed."""


@dataclass(kw_only=True)
class ProtocolConfig(Recipe):
    """how the product is measured. `accuracy` is selected on nothing."""

    PLACE: ClassVar[str] = "protocol"
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
    batch_by_ipc: dict[int, int] = field(default_factory=dict)  # largest IPC -> batch_size
    by_classes: dict[int, dict[str, float]] = field(
        default_factory=dict
    )  # least classes -> what changes from there on
    labels: Labels = Labels.hard
    temperature: float = 20.0  # of soft labels
    best: bool = False  # also report the highest test accuracy of the training: selected on test data
    readings: int = 100  # at most so many looks, evenly spread, the last epoch among them
    test_resize: bool = False  # enlarge test images to side // 7 * 8 pixels and crop their centre
    initial: dict[str, Initial] = field(
        default_factory=dict
    )  # architecture -> law of its first weights, in place of its own
    students: list[str] = field(default_factory=list)  # further architectures (cross-architecture tables)
    batching: Batching = Batching.auto
    audit: bool = False  # also ask a network trained on the whole training set about the images
    ceiling: bool = False  # also train on the whole training set (once, cached) for comparison
    full_steps: int = 12_000  # optimisation steps on the whole training set, at least one epoch
    full_nets: int = 1  # networks trained on the whole training set
    canvas: int = 1  # images a side of what the students see: 2 packs four of a class on each canvas
    pack: Pack = Pack.downscale  # what becomes of them there

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("full_steps", "readings"):
            require(getattr(self, key) >= 1, f"protocol.{key}", getattr(self, key), ">= 1")
        for key in ("nets", "full_nets"):
            require(1 <= getattr(self, key) <= 1000, f"protocol.{key}", getattr(self, key), "from 1 to 1000")
        for key in ("epoch_scale", "temperature"):
            require(getattr(self, key) > 0, f"protocol.{key}", getattr(self, key), "> 0")
        for key in ("epochs_by_ipc", "batch_by_ipc"):
            table = getattr(self, key)
            fits = all(ipc >= 1 and value >= 1 for ipc, value in table.items())
            require(fits, f"protocol.{key}", table, "a table of IPC and values, all >= 1")
        self._check_canvas()
        for name in self.initial:
            if not architecture(name, "protocol.initial").ours:
                raise UserError(f"protocol.initial.{name}: unknown network; {closest(name, names())}")
        for classes, changes in self.by_classes.items():
            for key, value in changes.items():
                _check_class_change(f"protocol.by_classes.{classes}.{key}", key, value)

    def _check_canvas(self) -> None:
        """Patches have crops or no augmentation, and the labels of their canvas."""
        require(self.canvas >= 1, "protocol.canvas", self.canvas, ">= 1")
        if self.canvas > 1:
            fits = not self.augment or self.augmentation is Augmentation.crop
            key = "protocol.augmentation"
            require(fits, key, self.augmentation.name, f"crop for protocol.canvas={self.canvas}")
            hard = self.labels is Labels.hard
            require(hard, "protocol.labels", self.labels.name, f"hard for protocol.canvas={self.canvas}")

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

    def unused(self) -> frozenset[str]:
        """Students of a synthetic set are trained for epochs; images that are alone are not packed."""
        return frozenset({"steps"} if self.canvas > 1 else {"steps", "pack"})

    def idle(self) -> frozenset[str]:
        """No laws of first weights, where every network has its own; test images as they are; no canvases."""
        alone = {"canvas"} if self.canvas == 1 else set()
        return frozenset(alone | {key for key in ("initial", "test_resize") if not getattr(self, key)})

    def product_identity(self) -> dict[str, Any]:
        """A product that uses the protocol uses networks trained on the whole training set, and nothing
        else."""
        recipe = self.full_data()
        return {key: getattr(recipe, key) for key in self.FULL_DATA}


def _check_class_change(place: str, key: str, value: float) -> None:
    if key not in CLASS_CHANGES:
        raise UserError(f"{place}: unknown key; {closest(key, CLASS_CHANGES)}")
    allowed = CLASS_CHANGES[key]
    least = float(allowed.split()[1])
    require(value > least if allowed[:2] == "> " else value >= least, place, value, allowed)
