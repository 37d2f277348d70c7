"""MTT: Dataset Distillation by Matching Training Trajectories, Cazenavette et al., CVPR 2022, arXiv
2203.11932.

Synthetic images on which a network, in a few steps from where an expert stood at some epoch, comes to where
the expert stood some epochs of real data later; the rate of these steps is learned too, and networks are then
trained with it.

Departures from the released code: randomness follows from the run's seed; the expert is drawn anew in each
iteration, not in turn; experts are kept in float32 and only as far as they are looked at; a step of the
student is computed again on the way back, in place of keeping its graph (exact); the learned rate is kept at
`alpha_min` or above, where theirs may turn negative. The settings of each cell (conf/cell/mtt) are the
published ones, as recalled but for CIFAR-100 at one image per class.
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
    from distill_bench.context import Context
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the published values for CIFAR-10 at 10 images per class, as recalled."""

    name: str = "mtt"
    iterations: int = 5000  # optimisation steps on the pixels and alpha
    syn_steps: int = 30  # N, steps of the student on the synthetic images
    expert_epochs: int = 2  # M, epochs of the expert that they stand for
    max_start_epoch: int = 20  # T+, the student starts at an expert's epoch below it
    batch_syn: int = 0  # synthetic images of one step of the student, 0: all of them
    lr_image: float = 1e5  # SGD rate on normalised pixels
    lr_alpha: float = 1e-6  # SGD rate on alpha
    alpha0: float = 1e-2  # alpha before the first iteration
    alpha_min: float = 1e-6  # least alpha, 0: it may vanish, but not turn negative; our choice
    momentum_image: float = 0.5  # SGD momentum on pixels and on alpha, in [0, 1)
    experts: int = 100  # networks trained on the real data
    train_epochs: int = 50  # E, epochs of each
    lr_expert: float = 1e-2  # SGD rate of the experts, no momentum
    batch_real: int = 256  # real images of one step of an expert
    init: Init = Init.real  # real | noise | herding | kcenter
    augment: bool = (
        True  # differentiable augmentation of experts and student, a family a batch, drawn for each image
    )

    def __post_init__(self) -> None:
        for key in ("iterations", "batch_syn", "lr_alpha", "alpha_min"):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")
        for key in ("syn_steps", "expert_epochs", "max_start_epoch", "experts", "train_epochs", "batch_real"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")
        for key in ("lr_image", "alpha0", "lr_expert"):
            require(getattr(self, key) > 0, f"method.{key}", getattr(self, key), "> 0")
        require(
            self.alpha_min <= self.alpha0, "method.alpha_min", self.alpha_min, f"at most alpha0={self.alpha0}"
        )
        require(0 <= self.momentum_image < 1, "method.momentum_image", self.momentum_image, "in [0, 1)")
        latest = self.max_start_epoch - 1 + self.expert_epochs
        allowed = f"at least max_start_epoch - 1 + expert_epochs = {latest}"
        require(latest <= self.train_epochs, "method.train_epochs", self.train_epochs, allowed)


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv 2203.11932",
    summary="matches where training leads the weights of networks trained on real images",
    uses=("dataset", "ipc", "student"),
    uses_when={"protocol": starts_from_coreset},
    revision=2,  # second derivatives of instance norm in closed form: other bits, by rounding
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil with

    .. math:: \min_{S, \alpha} E_{\theta^*, t}
        \|\hat\theta_{t+N} - \theta^*_{t+M}\|_2^2 / \|\theta^*_t - \theta^*_{t+M}\|_2^2, \quad \hat\theta_t =
        \theta^*_t, \quad \hat\theta_{i+1} = \hat\theta_i - \alpha \nabla CE(A(b_i); \hat\theta_i)

    over minibatches b_i of S, where theta* are the weights of an expert after each epoch.
    """
    data, student = ctx.dataset, ctx.group(StudentConfig)
    per_class, protocol = ctx.group(IpcConfig).drawn, ctx.group_in_use(ProtocolConfig)
    start = matching.initial_images(ctx, data, per_class, cfg.init, student, protocol)
    images, rate = matching.match_trajectories(ctx, data, student, start, cfg)
    return products.synthetic_set(data, images, lr=rate)
