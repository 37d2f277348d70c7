"""K-center: real images that leave no image of their class far from a chosen one (greedy, farthest first)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import matching, products
from distill_bench.contract import MethodInfo
from distill_bench.groups import IpcConfig, ProtocolConfig, StudentConfig
from distill_bench.matching.settings import FeatureSource, Init

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """The features in which the selection is made."""

    name: str = "kcenter"
    features: FeatureSource = FeatureSource.trained  # trained | random | pixels; trained: as recalled


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline: A Core-Set Approach, ICLR 2018, arXiv 1708.00489",
    summary="real images that cover their class",
    uses=("dataset", "ipc"),
    uses_when={
        "student": lambda cfg: cfg.features is not FeatureSource.pixels,
        "protocol": lambda cfg: cfg.features is FeatureSource.trained,
    },
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Select IPC images per class by `matching.greedy_kcenter`; the first is the one closest to the class
    mean."""
    data, per_class = ctx.dataset, ctx.group(IpcConfig).drawn
    student, protocol = ctx.group_in_use(StudentConfig), ctx.group_in_use(ProtocolConfig)
    features = matching.coreset_features(ctx, data, cfg.features, student, protocol)
    indices = matching.select_coreset(data, Init.kcenter, features, per_class)
    return products.synthetic_set(data, data.train.pixels_at(indices.flatten()))
