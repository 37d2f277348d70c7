"""What the methods of this room share in their Configs. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from distill_bench.errors import require

__all__ = ["FeatureSource", "GradientDistance", "GradientSettings", "Init", "starts_from_coreset"]


class Init(Enum):
    """What the synthetic images are before the first step."""

    real = "real"  # random real images of the class
    noise = "noise"  # standard normal values
    herding = "herding"  # real images that herding selects
    kcenter = "kcenter"  # real images that k-center selects


class FeatureSource(Enum):
    """The features in which a coreset is selected."""

    trained = "trained"  # embeddings of the student trained on the whole training set
    random = "random"  # embeddings of the student as initialised
    pixels = "pixels"


class GradientDistance(Enum):
    """How the distance of two gradients of a class is measured."""

    ours = "ours"  # DC's: one minus cosine, for each output unit of each layer
    cosine = "cosine"  # one minus cosine of all parameters in one vector
    mse = "mse"  # squared distance of these vectors


class _Initialised(Protocol):
    init: Init


def starts_from_coreset(cfg: _Initialised) -> bool:
    """Whether a method selects its first images with a network trained on the whole training set."""
    return cfg.init in (Init.herding, Init.kcenter)


@dataclass(kw_only=True)
class GradientSettings:
    """The hyper-parameters of gradient matching, with the released code's values."""

    name: str = ""
    iterations: int = 1000  # each from a fresh random network
    lr_image: float = 0.1  # SGD rate on normalised pixels
    momentum_image: float = 0.5  # SGD momentum, in [0, 1)
    batch_real: int = 256  # real images per class and step
    outer_loops: int = 50  # steps on the images in an iteration at most; their number follows from IPC
    inner_epochs: int = 50  # epochs of the network between two such steps at most; by IPC
    lr_net: float = 0.01  # SGD rate of the network, no momentum
    distance: GradientDistance = GradientDistance.ours  # ours | cosine | mse
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = False  # siamese augmentation, one draw per class and step

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        for key in ("lr_image", "lr_net"):
            require(getattr(self, key) > 0, f"method.{key}", getattr(self, key), "> 0")
        require(0 <= self.momentum_image < 1, "method.momentum_image", self.momentum_image, "in [0, 1)")
        for key in ("batch_real", "outer_loops", "inner_epochs"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")
