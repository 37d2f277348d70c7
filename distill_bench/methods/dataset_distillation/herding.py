"""Herding (Welling, ICML 2009), by iCaRL's rule: real images whose running mean follows the class mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from distill_bench import matching
from distill_bench.contract import Context, MethodInfo, SyntheticSet
from distill_bench.groups import FeatureSource, Init

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """The features in which the selection is made."""

    name: str = "herding"
    features: FeatureSource = (
        FeatureSource.trained
    )  # trained | random | pixels; trained, as recalled of the papers


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline: Herding Dynamical Weights to Learn, ICML 2009",
    summary="real images whose mean feature follows the class mean",
    uses=("dataset", "ipc", "student", "protocol"),
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Select IPC images per class by `matching.herding`; IPC 5 begins with the image of IPC 1."""
    indices = matching.select_coreset(ctx, Init.herding, cfg.features)
    labels = torch.arange(len(indices), device=ctx.device).repeat_interleave(indices.shape[1])
    return SyntheticSet(ctx.dataset.train.images(indices.flatten()), labels)
