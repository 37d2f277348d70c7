"""The generative rooms, asked with the groups and the data of a test's context."""

from __future__ import annotations

from typing import Any

import torch

from distill_bench import generative
from distill_bench.context import Context
from distill_bench.generative import latent
from distill_bench.generative.architectures import DenoiserArchitecture, architecture_for
from distill_bench.generative.minimax import MinimaxTuning, tuned_prior
from distill_bench.generative.modes import class_modes
from distill_bench.generative.training import train_denoiser
from distill_bench.groups import GeneratorConfig, IpcConfig
from distill_bench.products import SyntheticSet

__all__ = ["architecture_of", "drawn_of", "latent_of", "modes_of", "prior_of", "trained_of", "tuned_of"]


def prior_of(ctx: Context) -> generative.Prior:
    """The context's prior."""
    return generative.load_prior(ctx, ctx.dataset, ctx.group(GeneratorConfig))


def drawn_of(ctx: Context, prior: generative.Prior, hook: Any = None) -> SyntheticSet:
    """The set of the context's size, drawn from `prior`."""
    per_class = ctx.group(IpcConfig).images_per_class
    return generative.draw_set(ctx, ctx.dataset, prior, ctx.group(GeneratorConfig), per_class, hook)


def modes_of(ctx: Context, prior: generative.Prior, per_class: int | None = None) -> torch.Tensor:
    """Modes for a set of the context's size, or of another."""
    count = per_class or ctx.group(IpcConfig).images_per_class
    return class_modes(ctx, ctx.dataset, prior, ctx.group(GeneratorConfig), count)


def tuned_of(ctx: Context, tuning: MinimaxTuning) -> generative.Prior:
    """The context's prior after fine-tuning."""
    return tuned_prior(ctx, ctx.dataset, ctx.group(GeneratorConfig), tuning)


def latent_of(ctx: Context) -> latent.LatentGenerator:
    """The context's generator."""
    return latent.load_latent(ctx, ctx.dataset, ctx.group(GeneratorConfig))


def architecture_of(ctx: Context) -> DenoiserArchitecture:
    """What the context's prior is built from."""
    return architecture_for(ctx.group(GeneratorConfig), ctx.dataset.resolution)


def trained_of(ctx: Context) -> dict[str, Any]:
    """The context's prior, trained in the context's own folder and not cached."""
    return train_denoiser(ctx, ctx.dataset, ctx.group(GeneratorConfig), architecture_of(ctx))
