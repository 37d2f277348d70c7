"""ATOM: Attention Mixer for Efficient Dataset Distillation, Khaki et al., CVPR 2024 workshop, arXiv
2405.01373.

DataDAM with a second attention: synthetic images whose class means agree with the real ones in the spatial
attention (where a class is) and in the channel attention (in what context) of every layer but the last, and
in the embedding.

The authors have published no code. What ATOM shares with DataDAM is here DataDAM's, so that without the
channel term the two are one method, bit for bit: the normalisation, the factor of the loss, the optimiser,
the layers. Recalled and not checked against the paper: both exponents of 4 for ATOM, and the normalisation of
each attention by itself. Our choice: equal weights in the mixture, which joining both vectors into one of
unit length halves and changes in no other way; 64 real images per class and step, DataDAM's released default
(the paper is not clear).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from distill_bench import matching, products
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import IpcConfig, Norm, ProtocolConfig, StudentConfig
from distill_bench.matching.settings import Init, starts_from_coreset

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.matching import AttentionMatching
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "Layers", "Mix", "matched", "run"]


class Mix(Enum):
    """How the two attentions are mixed."""

    sum = "sum"  # w_s L_s + w_c L_c; a weight of 0 leaves its term out
    concat = "concat"  # both vectors as one of unit length: (L_s + L_c) / 2, times the weight that both share
    spatial = "spatial"  # w_s L_s: DataDAM
    channel = "channel"  # w_c L_c


class Layers(Enum):
    """The blocks whose attention is matched."""

    all_but_last = "all_but_last"  # the last one gives the embedding only, as in DataDAM
    all = "all"


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the paper's values, or DataDAM's where the paper's are not established."""

    name: str = "atom"
    iterations: int = 8000  # optimisation steps, DataDAM's table of hyper-parameters
    lr_image: float = 1.0  # SGD rate on normalised pixels; 10 for IPC > 50
    momentum_image: float = 0.5  # SGD momentum, in [0, 1)
    batch_real: int = 64  # n_T, real images per class and step: our choice
    power_spatial: float = 4.0  # p_s of the attention over positions, >= 1
    power_channel: float = 4.0  # p_c of the attention over channels, >= 1; recalled
    weight_spatial: float = 1.0  # w_s, >= 0; our choice
    weight_channel: float = 1.0  # w_c, >= 0; our choice
    mix: Mix = Mix.sum  # sum | concat | spatial | channel
    layers: Layers = Layers.all_but_last  # all_but_last | all
    task_balance: float = 0.01  # lambda, weight of the embedding term; 0.02 at high resolution; >= 0
    loss_scale: float = 100.0  # factor of the whole loss, > 0
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = True  # differentiable siamese augmentation, one draw per class and step

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        require(self.lr_image > 0, "method.lr_image", self.lr_image, "> 0")
        require(0 <= self.momentum_image < 1, "method.momentum_image", self.momentum_image, "in [0, 1)")
        require(self.batch_real >= 1, "method.batch_real", self.batch_real, ">= 1")
        for key in ("power_spatial", "power_channel"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")
        for key in ("weight_spatial", "weight_channel", "task_balance"):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")
        require(self.loss_scale > 0, "method.loss_scale", self.loss_scale, "> 0")
        equal = self.weight_spatial == self.weight_channel
        allowed = "sum, spatial or channel, as weight_spatial and weight_channel differ"
        require(equal or self.mix is not Mix.concat, "method.mix", self.mix.name, allowed)


INFO = MethodInfo(
    task="dataset_distillation",
    paper="ATOM: Attention Mixer for Efficient Dataset Distillation, CVPR 2024 workshop, arXiv 2405.01373",
    summary="matches class means of spatial and channel attention and embeddings in random networks",
    uses=("dataset", "ipc", "student"),
    uses_when={"protocol": starts_from_coreset},
)


def matched(cfg: Config) -> AttentionMatching:
    """What ATOM matches: both attentions or one of them, and the embedding, with their weights."""
    return matching.AttentionMatching(
        spatial=cfg.weight_spatial if cfg.mix is not Mix.channel else 0.0,
        channel=cfg.weight_channel if cfg.mix is not Mix.spatial else 0.0,
        spatial_power=cfg.power_spatial,
        channel_power=cfg.power_channel,
        joint=cfg.mix is Mix.concat,
        last=cfg.layers is Layers.all,
        task_balance=cfg.task_balance,
        loss_scale=cfg.loss_scale,
    )


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_S w_s L_s + w_c L_c + \lambda L_{MMD}, \quad
        L_{s|c} = E_\theta \sum_k \sum_{l<L} \| m^{s|c}_{k,l}(B^T_k) - m^{s|c}_{k,l}(S_k) \|_2^2

    where m^s and m^c are class means of `spatial_attention` and `channel_attention`, and L_MMD is DM's loss.
    """
    terms = matched(cfg)
    if terms.channel:
        _warn_of_blindness(ctx, cfg.power_channel)
    data, student = ctx.dataset, ctx.group(StudentConfig)
    per_class, protocol = ctx.group(IpcConfig).drawn, ctx.group_in_use(ProtocolConfig)
    start = matching.initial_images(ctx, data, per_class, cfg.init, student, protocol)
    images = matching.match_class_means(ctx, data, student, start, cfg, terms.statistics, terms.curves)
    return products.synthetic_set(data, images)


def _warn_of_blindness(ctx: Context, power: float) -> None:
    """Instance norm gives all channels one mean and one variance: sums of small powers hardly tell them
    apart."""
    if ctx.group(StudentConfig).norm is Norm.instance and power <= 2:
        fact = f"method.power_channel={power:g}: channel attention is nearly blind with student.norm=instance"
        ctx.say(f"warning: {fact}; 4, or student.norm=batch, lets it act")
