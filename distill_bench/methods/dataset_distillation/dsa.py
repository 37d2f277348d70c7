"""DSA: Dataset Condensation with Differentiable Siamese Augmentation, Zhao and Bilen, ICML 2021, arXiv
2102.08259.

DC with the same random augmentation of the real and the synthetic images of a class when their gradients are
matched, and with augmentation when the network is trained between. Departures from the released code: those
of DC.
"""

from __future__ import annotations

from dataclasses import dataclass

from distill_bench import matching
from distill_bench.contract import Context, MethodInfo, SyntheticSet, Work
from distill_bench.errors import require
from distill_bench.groups import Distance, Init

__all__ = ["INFO", "Config", "run", "work"]


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the released code's values."""

    name: str = "dsa"
    iterations: int = 1000  # each from a fresh random network
    lr_image: float = 0.1  # SGD rate on normalised pixels
    momentum_image: float = 0.5  # SGD momentum, in [0, 1)
    batch_real: int = 256  # real images per class and step
    outer_loops: int = 50  # steps on the images in an iteration at most; their number follows from IPC
    inner_epochs: int = 50  # epochs of the network between two such steps at most; by IPC
    lr_net: float = 0.01  # SGD rate of the network, no momentum
    distance: Distance = Distance.ours  # ours | cosine | mse
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = True  # siamese augmentation, one draw per class and step; without it DSA is DC

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        for key in ("lr_image", "lr_net"):
            require(getattr(self, key) > 0, f"method.{key}", getattr(self, key), "> 0")
        require(0 <= self.momentum_image < 1, "method.momentum_image", self.momentum_image, "in [0, 1)")
        for key in ("batch_real", "outer_loops", "inner_epochs"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv 2102.08259",
    summary="matches gradients of equally augmented real and synthetic images, class by class",
    uses=("dataset", "ipc", "student", "protocol"),
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_S E_{\theta_0, \omega} \sum_t \sum_k
        D(\nabla_\theta CE(A_\omega(S_k); \theta_t), \nabla_\theta CE(A_\omega(B^T_k); \theta_t))

    where theta_t is the network after t rounds of training on S.
    """
    return matching.match_gradients(ctx, cfg)


def work(ctx: Context, cfg: Config) -> list[Work]:
    """The distillation."""
    return matching.gradient_work(ctx, cfg)
