"""DSA: Dataset Condensation with Differentiable Siamese Augmentation, Zhao and Bilen, ICML 2021, arXiv
2102.08259.

DC with the same random augmentation of the real and the synthetic images of a class when their gradients are
matched, and with augmentation when the network is trained between. Departures from the released code: those
of DC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import matching, products
from distill_bench.contract import MethodInfo
from distill_bench.groups import IpcConfig, ProtocolConfig, StudentConfig
from distill_bench.matching.settings import GradientSettings, Init, starts_from_coreset

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config(GradientSettings):
    """The hyper-parameters of gradient matching, with the released code's values for DSA."""

    name: str = "dsa"
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = True  # siamese augmentation, one draw per class and step; without it DSA is DC


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259",
    summary="matches gradients of equally augmented real and synthetic images, class by class",
    uses=("dataset", "ipc", "student"),
    uses_when={"protocol": starts_from_coreset},
    revision=2,  # second derivatives of instance norm in closed form: other bits, by rounding
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_S E_{\theta_0, \omega} \sum_t \sum_k
        D(\nabla_\theta CE(A_\omega(S_k); \theta_t), \nabla_\theta CE(A_\omega(B^T_k); \theta_t))

    where theta_t is the network after t rounds of training on S.
    """
    data, student = ctx.dataset, ctx.group(StudentConfig)
    per_class, protocol = ctx.group(IpcConfig).drawn, ctx.group_in_use(ProtocolConfig)
    start = matching.initial_images(ctx, data, per_class, cfg.init, student, protocol)
    images = matching.match_gradients(ctx, data, student, start, cfg)
    return products.synthetic_set(data, images)
