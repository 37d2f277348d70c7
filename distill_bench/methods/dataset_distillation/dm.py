"""DM: Dataset Condensation with Distribution Matching, Zhao and Bilen, WACV 2023, arXiv 2110.04181.

Synthetic images whose mean embedding agrees with the real mean, class by class, in networks drawn at random
and never trained. Departures from the released code: randomness follows from the run's seed (there, from the
clock); all classes share one forward pass (equal for instance norm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import matching, products
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import IpcConfig, ProtocolConfig, StudentConfig
from distill_bench.matching.settings import Init, starts_from_coreset

if TYPE_CHECKING:
    import torch

    from distill_bench.context import Context
    from distill_bench.models import Features
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run", "statistics"]


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the released code's values."""

    name: str = "dm"
    iterations: int = 20_000  # optimisation steps on the pixels
    lr_image: float = 1.0  # SGD rate on normalised pixels; 10 for IPC >= 100
    momentum_image: float = 0.5  # SGD momentum, in [0, 1)
    batch_real: int = 256  # real images per class and step
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = True  # differentiable siamese augmentation, one draw per class and step

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        require(self.lr_image > 0, "method.lr_image", self.lr_image, "> 0")
        require(0 <= self.momentum_image < 1, "method.momentum_image", self.momentum_image, "in [0, 1)")
        require(self.batch_real >= 1, "method.batch_real", self.batch_real, ">= 1")


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181",
    summary="matches class means of embeddings in random networks",
    uses=("dataset", "ipc", "student"),
    uses_when={"protocol": starts_from_coreset},
)


def statistics(features: Features) -> list[tuple[float, torch.Tensor]]:
    """The one statistic that DM matches: psi(x), the flattened output of the last block, (B, D), weight 1."""
    return [(1.0, features.embedding)]


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_S E_{\theta,\omega} \sum_k
        \| \operatorname{mean} \psi_\theta(A_\omega(B^T_k)) - \operatorname{mean} \psi_\theta(A_\omega(S_k))
        \|_2^2
    """
    data, student = ctx.dataset, ctx.group(StudentConfig)
    per_class, protocol = ctx.group(IpcConfig).drawn, ctx.group_in_use(ProtocolConfig)
    start = matching.initial_images(ctx, data, per_class, cfg.init, student, protocol)
    images = matching.match_class_means(ctx, data, student, start, cfg, statistics)
    return products.synthetic_set(data, images)
