"""From a shape to networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from distill_bench.generative.latent import biggan, cgan, cvae
from distill_bench.generative.latent.generator import GeneratorShape, LatentGenerator
from distill_bench.seeding import derive

__all__ = ["build_companion", "build_generator"]

_GENERATORS: dict[str, Callable[[GeneratorShape], LatentGenerator]] = {
    "cvae": cvae.Decoder,
    "cgan": cgan.Generator,
    "biggan": biggan.Generator,
}
_COMPANIONS: dict[str, Callable[[GeneratorShape], nn.Module]] = {
    "cvae": cvae.Encoder,
    "cgan": cgan.Discriminator,
    "biggan": biggan.Discriminator,
}


def build_generator(shape: GeneratorShape, seed: int = 0) -> LatentGenerator:
    """The generator, on the CPU, with first parameters that follow from `seed` alone."""
    return _seeded(lambda: _GENERATORS[shape.kind](shape), derive(seed, "latent generator"))


def build_companion(shape: GeneratorShape, seed: int = 0) -> nn.Module:
    """What the generator is trained with: the encoder of a VAE, the discriminator of a GAN."""
    return _seeded(lambda: _COMPANIONS[shape.kind](shape), derive(seed, "latent companion"))


def _seeded(make: Callable[[], Any], seed: int) -> Any:
    """What `make` gives: the layers' constructors draw from the global generator, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()
