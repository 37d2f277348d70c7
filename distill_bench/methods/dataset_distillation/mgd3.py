"""MGD3: Mode-Guided Dataset Distillation using Diffusion Models, Chan-Santiago et al., ICML 2025, arXiv
2505.18963.

No training: k-means finds as many modes of each class as images are wanted, in the space of the diffusion
model, and each image is pulled to a mode of its own in the first part of the reverse process. Modes and the
pull: distill_bench/generative/modes.py.

As published: the weight, the stop, one mode an image. The paper's equation and its deterministic form
disagree in a sign; both forms here are those of a public re-implementation (ManifoldGD), where the noise that
scales the pull is the network's own if it has learned one. Departures: modes are found in the means of the
autoencoder's posteriors (our choice); images of a small model here are clipped after the pull, since it
diffuses pixels. On ImageWoof the paper tunes its model with the plain loss first, for a time that is not
established: ours is not tuned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import generative
from distill_bench.context import Context
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import GeneratorConfig, IpcConfig

if TYPE_CHECKING:
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the paper's values."""

    name: str = "mgd3"
    mode_scale: float = 0.1  # lambda, weight of the pull, in [0, 1]; 0: plain sampling
    stop: float = 0.5  # t_stop, in [0, 1]: no pull while that share of the steps is left (published: 25 / 50)

    def __post_init__(self) -> None:
        require(0 <= self.mode_scale <= 1, "method.mode_scale", self.mode_scale, "in [0, 1]")
        require(0 <= self.stop <= 1, "method.stop", self.stop, "in [0, 1]")


INFO = MethodInfo(
    task="dataset_distillation",
    paper="MGD3: Mode-Guided Dataset Distillation using Diffusion Models, ICML 2025, arXiv 2505.18963",
    summary="pulls each sample of a diffusion model to a k-means mode of its class",
    uses=("dataset", "ipc", "generator"),
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Find IPC modes of each class, then draw image i of a class under the pull of mode i."""
    from distill_bench.generative.modes import ModeGuidance, class_modes

    config, per_class = ctx.group(GeneratorConfig), ctx.group(IpcConfig).drawn
    prior = generative.load_prior(ctx, ctx.dataset, config)
    modes = class_modes(ctx, ctx.dataset, prior, config, per_class)
    pull = ModeGuidance(modes, cfg.mode_scale, cfg.stop)
    return generative.draw_set(ctx, ctx.dataset, prior, config, per_class, pull)
