"""DC: Dataset Condensation with Gradient Matching, Zhao, Mopuri and Bilen, ICLR 2021, arXiv 2006.05929.

Synthetic images on which the gradients of a network agree with those on real images, class by class, along
the training of that network on them. Departures from the released code: randomness follows from the run's
seed (there, from the clock); several classes share one pass; nothing is differentiated for the network's
weights; (outer, inner) for IPC that the code refuses (see `matching.loop_lengths`).

The paper's numbers, but for MNIST, are of networks trained 300 epochs without augmentation:
`preset=dc/published`.
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
    """The hyper-parameters of gradient matching, with the released code's values for DC."""

    name: str = "dc"
    init: Init = Init.noise  # real | noise | herding | kcenter
    augment: bool = False  # siamese augmentation, one draw per class and step; with it DC is DSA


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929",
    summary="matches gradients class by class along the training of random networks",
    uses=("dataset", "ipc", "student"),
    uses_when={"protocol": starts_from_coreset},
    revision=2,  # second derivatives of instance norm in closed form: other bits, by rounding
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_S E_{\theta_0} \sum_t \sum_k
        D(\nabla_\theta CE(S_k; \theta_t), \nabla_\theta CE(B^T_k; \theta_t))

    where theta_t is the network after t rounds of training on S.
    """
    data, student = ctx.dataset, ctx.group(StudentConfig)
    per_class, protocol = ctx.group(IpcConfig).drawn, ctx.group_in_use(ProtocolConfig)
    start = matching.initial_images(ctx, data, per_class, cfg.init, student, protocol)
    images = matching.match_gradients(ctx, data, student, start, cfg)
    return products.synthetic_set(data, images)
