"""What every method that trains a classifier can be asked for beside its loss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from distill_bench.errors import require

__all__ = ["ClassifierConfig", "Select"]


class Select(Enum):
    """Which weights of the training are kept."""

    last = "last"  # those after the last epoch
    held_out = "held_out"  # those of the epoch with the highest accuracy on the held-out images


@dataclass(kw_only=True)
class ClassifierConfig:
    """The base of the methods' Configs. Nothing is ever selected on test images."""

    name: str = ""
    held_out: int = 0  # training images of each class that are left out of the training
    select: Select = Select.last  # last | held_out (which needs some)
    curves: bool = False  # after each epoch error, CMI and NCMI: of held-out images, or else of test images

    def __post_init__(self) -> None:
        require(self.held_out >= 0, "method.held_out", self.held_out, ">= 0")
        fits = self.select is Select.last or self.held_out > 0
        require(fits, "method.select", self.select.name, "last, or method.held_out above 0")
