"""Plain sampling of a class-conditional diffusion model: the baseline of every method that tunes, guides or
selects.

DDPM (Ho et al., NeurIPS 2020), DDIM (Song et al., ICLR 2021), classifier-free guidance (Ho and Salimans,
2022). With `generator=dit_xl2_256` it is the row "DiT" of the literature's tables; with a small model trained
here, our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import generative
from distill_bench.context import Context
from distill_bench.contract import MethodInfo
from distill_bench.groups import GeneratorConfig, IpcConfig

if TYPE_CHECKING:
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """Nothing of its own: the model, the solver and the guidance weight are the `generator` group's."""

    name: str = "diffusion"


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline",
    summary="samples of a class-conditional diffusion model",
    uses=("dataset", "ipc", "generator"),
)


def run(ctx: Context, _cfg: Config) -> SyntheticSet:
    """Draw IPC images of each class from p(x | y) with classifier-free guidance of weight `generator.cfg`."""
    config, per_class = ctx.group(GeneratorConfig), ctx.group(IpcConfig).drawn
    prior = generative.load_prior(ctx, ctx.dataset, config)
    return generative.draw_set(ctx, ctx.dataset, prior, config, per_class)
