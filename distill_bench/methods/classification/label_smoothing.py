"""Label smoothing (Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7).

A part of each label's mass is spread over all classes, which keeps predictions from becoming certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import classification, training
from distill_bench.classification.settings import ClassifierConfig
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import RecipeConfig, StudentConfig, TrainsetConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import Classifier

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config(ClassifierConfig):
    """Hyper-parameters with the paper's value."""

    name: str = "label_smoothing"
    smoothing: float = 0.1  # epsilon, the mass that is spread, in [0, 1); 0: cross-entropy

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.smoothing < 1, "method.smoothing", self.smoothing, "in [0, 1)")


INFO = MethodInfo(
    task="classification",
    paper="baseline: Rethinking the Inception Architecture for Computer Vision, CVPR 2016, arXiv 1512.00567",
    summary="a classifier trained on labels that are smoothed",
    uses=("dataset", "student", "recipe", "trainset"),
)


def run(ctx: Context, cfg: Config) -> Classifier:
    r"""Minimise the mean of :math:`-\sum_k q_k \log p(k | x)`, :math:`q_k = (1 - \epsilon) 1\{k = y\} +
    \epsilon / K`."""
    sets = ctx.products(TrainsetConfig)
    images = classification.training_images(ctx.dataset, ctx.group(TrainsetConfig), sets)
    return classification.train_classifier(
        ctx,
        ctx.dataset,
        images,
        ctx.group(StudentConfig),
        ctx.group(RecipeConfig),
        cfg,
        training.LabelSmoothing(cfg.smoothing),
    )
