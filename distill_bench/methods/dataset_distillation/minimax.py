"""Efficient Dataset Distillation via Minimax Diffusion, Gu et al., CVPR 2024, arXiv 2311.15529.

A pretrained class-conditional diffusion model is tuned on the data set so that its predictions resemble the
real images that they are least like (representativeness), and differ from the earlier predictions that they
are most like (diversity); the set is then sampled from it as from any other. The criteria:
distill_bench/generative/minimax.py.

The defaults are the published ones, for DiT-XL/2 at 256 pixels (`generator=dit_xl2_256`); the published run
has 8 epochs, its released checkpoint 12,000 steps, which we take on any data set. On the small models trained
here everything is our choice: they were trained on the same images already, so that tuning can add the two
criteria alone. The running mean of the weights is shortened for runs below 12,000 steps, and one tuned model
serves all seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from distill_bench import generative
from distill_bench.context import Context
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import GeneratorConfig, IpcConfig

if TYPE_CHECKING:
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "Trainable", "run"]


class Trainable(Enum):
    """Which parameters are tuned."""

    difffit = "difffit"  # biases, norms, label embeddings, and scales of a transformer's first half of blocks
    all = "all"  # every one


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the published code's values."""

    name: str = "minimax"
    iterations: int = 12_000  # steps of fine-tuning, of the released checkpoint; 0: the prior as it is
    lr: float = 1e-3  # AdamW's rate, constant, without weight decay
    batch: int = 8  # images a step
    lambda_r: float = 0.002  # weight of representativeness, >= 0
    lambda_d: float = 0.008  # weight of diversity, >= 0
    memory: int = 64  # N_M, latents of each class in each memory
    ema: float = 0.9999  # decay of the running mean of the weights, in [0, 1); less in a short run
    trainable: Trainable = Trainable.difffit  # difffit | all

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        require(self.lr > 0, "method.lr", self.lr, "> 0")
        for key in ("batch", "memory"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")
        for key in ("lambda_r", "lambda_d"):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")
        require(0 <= self.ema < 1, "method.ema", self.ema, "in [0, 1)")


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Efficient Dataset Distillation via Minimax Diffusion, CVPR 2024, arXiv 2311.15529",
    summary="samples a diffusion model tuned to be representative and diverse",
    uses=("dataset", "ipc", "generator"),
    revision=2,  # a learned variance has the likelihood of pixels at the first time
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Tune the prior with both criteria, then draw IPC images of each class from it as `diffusion` does."""
    from distill_bench.generative.minimax import tuned_prior

    config, per_class = ctx.group(GeneratorConfig), ctx.group(IpcConfig).drawn
    prior = tuned_prior(ctx, ctx.dataset, config, cfg)
    return generative.draw_set(ctx, ctx.dataset, prior, config, per_class)
