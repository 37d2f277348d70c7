"""DataDAM: Efficient Dataset Distillation with Attention Matching, Sajedi et al., ICCV 2023, arXiv
2310.00093.

Synthetic images whose class means agree with the real ones in the spatial attention of every layer but the
last and in the embedding, in networks drawn at random and never trained.

The paper's table and its released code disagree; the defaults here are the paper's: p = 4 (code: 1), instance
norm (code: batch norm, `student=convnet_bn`), 8000 iterations (code: 20000). `batch_real` is the released
default. On CIFAR the images are ZCA-whitened, as the authors' later paper states (see conf/cell/datadam); the
released code leaves whitening off, and would fit it to the synthetic images a second time, which we do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
    """Hyper-parameters with the paper's values."""

    name: str = "datadam"
    iterations: int = 8000  # optimisation steps, table of hyper-parameters (released code: 20000)
    lr_image: float = 1.0  # eta_S, SGD rate on normalised pixels; 10 for IPC > 50
    momentum_image: float = 0.5  # SGD momentum, in [0, 1)
    batch_real: int = 64  # n_T, real images per class and step
    power: float = 4.0  # p of the attention, >= 1 (released code: 1)
    task_balance: float = 0.01  # lambda, weight of the embedding term; 0.02 at high resolution; >= 0
    loss_scale: float = 100.0  # factor of the whole loss in the released code, > 0
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = True  # differentiable siamese augmentation, one draw per class and step

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        require(self.lr_image > 0, "method.lr_image", self.lr_image, "> 0")
        require(0 <= self.momentum_image < 1, "method.momentum_image", self.momentum_image, "in [0, 1)")
        require(self.batch_real >= 1, "method.batch_real", self.batch_real, ">= 1")
        require(self.power >= 1, "method.power", self.power, ">= 1")
        require(self.task_balance >= 0, "method.task_balance", self.task_balance, ">= 0")
        require(self.loss_scale > 0, "method.loss_scale", self.loss_scale, "> 0")


INFO = MethodInfo(
    task="dataset_distillation",
    paper="DataDAM: Efficient Dataset Distillation with Attention Matching, ICCV 2023, arXiv 2310.00093",
    summary="matches class means of spatial attention and embeddings in random networks",
    uses=("dataset", "ipc", "student"),
    uses_when={"protocol": starts_from_coreset},
)


def statistics(features: Features, cfg: Config) -> list[tuple[float, torch.Tensor]]:
    """What DataDAM matches, with weights: attention of blocks 1 .. L-1, (B, H_l W_l), then the embedding (B,
    D).

    The last block gives the embedding only: its attention is left out, as in the released code. Weights are
    `loss_scale` and `loss_scale * task_balance`.
    """
    matched = matching.AttentionMatching(
        spatial=1.0, spatial_power=cfg.power, task_balance=cfg.task_balance, loss_scale=cfg.loss_scale
    )
    return matched.statistics(features)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_S L_{SAM} + \lambda L_{MMD}, \quad
        L_{SAM} = E_\theta \sum_k \sum_{l<L} \| m_{k,l}(B^T_k) - m_{k,l}(S_k) \|_2^2

    where m is the class mean of `spatial_attention` and L_MMD is DM's loss.
    """
    data, student = ctx.dataset, ctx.group(StudentConfig)
    per_class, protocol = ctx.group(IpcConfig).drawn, ctx.group_in_use(ProtocolConfig)
    start = matching.initial_images(ctx, data, per_class, cfg.init, student, protocol)
    matched = partial(statistics, cfg=cfg)
    images = matching.match_class_means(ctx, data, student, start, cfg, matched)
    return products.synthetic_set(data, images)
