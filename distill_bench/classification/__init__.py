"""Training one classifier, on whatever it learns from, towards whatever objective.

This package is cheap to import: a public name is loaded when it is first used, so that the methods' Configs
can take their base from `settings` before anything heavy is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_bench.classification.settings import ClassifierConfig, Select
from distill_bench.deferred import lazy_names

if TYPE_CHECKING:
    from distill_bench.classification.train import train_classifier
    from distill_bench.classification.trainset import TrainingImages, training_images

__all__ = ["ClassifierConfig", "Select", "TrainingImages", "train_classifier", "training_images"]

__getattr__ = lazy_names(
    __name__, {"train": ("train_classifier",), "trainset": ("TrainingImages", "training_images")}
)
