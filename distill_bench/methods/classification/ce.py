"""Cross-entropy: a classifier trained on hard labels, the baseline of every other criterion.

With the default recipe this is the network of the full-data ceilings of dataset distillation; the recipes
named after papers train as these do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import classification, training
from distill_bench.classification.settings import ClassifierConfig
from distill_bench.contract import MethodInfo
from distill_bench.groups import RecipeConfig, StudentConfig, TrainsetConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import Classifier

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config(ClassifierConfig):
    """No hyper-parameters beyond those of every training."""

    name: str = "ce"


INFO = MethodInfo(
    task="classification",
    paper="baseline",
    summary="a classifier trained on hard labels",
    uses=("dataset", "student", "recipe", "trainset"),
)


def run(ctx: Context, cfg: Config) -> Classifier:
    r"""Minimise the mean of :math:`-\log p(y | x)` over the training images."""
    sets = ctx.products(TrainsetConfig)
    images = classification.training_images(ctx.dataset, ctx.group(TrainsetConfig), sets)
    return classification.train_classifier(
        ctx,
        ctx.dataset,
        images,
        ctx.group(StudentConfig),
        ctx.group(RecipeConfig),
        cfg,
        training.CrossEntropy(),
    )
