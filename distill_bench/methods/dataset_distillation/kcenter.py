"""K-center: real images that leave no image of their class far from a chosen one (greedy, farthest first)."""

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

    name: str = "kcenter"
    features: FeatureSource = (
        FeatureSource.trained
    )  # trained | random | pixels; trained, as recalled of the papers


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline: A Core-Set Approach, ICLR 2018, arXiv 1708.00489",
    summary="real images that cover their class",
    uses=("dataset", "ipc", "student", "protocol"),
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Select IPC images per class by `matching.greedy_kcenter`; the first is the one closest to the class
    mean."""
    indices = matching.select_coreset(ctx, Init.kcenter, cfg.features)
    labels = torch.arange(len(indices), device=ctx.device).repeat_interleave(indices.shape[1])
    return SyntheticSet(ctx.dataset.train.images(indices.flatten()), labels)
