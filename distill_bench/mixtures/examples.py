"""Mixtures to reduce."""

from __future__ import annotations

import torch

from distill_bench import seeding
from distill_bench.groups import MixtureConfig, MixtureKind
from distill_bench.mixtures.gaussian import GaussianMixture

__all__ = ["classic", "originals", "random"]


def classic() -> GaussianMixture:
    """The ten-component mixture in one dimension that the literature reduces to five (Crouse, Willett,
    Pattipati and Svensson, FUSION 2011; the same numbers in several public repositories)."""
    weights = [0.03, 0.18, 0.12, 0.19, 0.02, 0.16, 0.06, 0.10, 0.08, 0.06]
    means = [1.45, 2.20, 0.67, 0.48, 1.49, 0.91, 1.01, 1.42, 2.77, 0.89]
    variances = [0.0487, 0.0305, 0.1171, 0.0174, 0.0295, 0.0102, 0.0323, 0.0380, 0.0115, 0.0679]
    return GaussianMixture.of(weights, [[m] for m in means], [[[v]] for v in variances])


def random(components: int, dimension: int, generator: torch.Generator) -> GaussianMixture:
    """N = `components` random Gaussians in d = `dimension` dimensions.

    w ~ Dirichlet(1), mu ~ U(0, 3)^d, S = 0.5 X X' / (d + 2) + 0.02 I with standard normal X (d, d + 2). The
    sampler is ours: sizes are those of Crouse et al. (2011), whose exact sampler could not be established.
    """
    empty = torch.empty(0, dtype=torch.float64, device=generator.device)
    weights = empty.new_empty(components).exponential_(generator=generator)
    means = empty.new_empty(components, dimension).uniform_(0, 3, generator=generator)
    x = empty.new_empty(components, dimension, dimension + 2).normal_(generator=generator)
    covariances = 0.5 * x @ x.mT / (dimension + 2) + 0.02 * torch.eye(dimension).to(x)
    return GaussianMixture.of(weights / weights.sum(), means, covariances)


def originals(config: MixtureConfig, seed: int) -> list[GaussianMixture]:
    """The mixtures that `config` asks for, `config.draws` of them, on the CPU.

    Each draw follows from the seed and its number, so that methods see the same mixtures.
    """
    if config.kind is MixtureKind.classic:
        return [classic()]
    draws = (seeding.generator(seed, "mixture", draw) for draw in range(config.draws))
    return [random(config.components, config.dimension, generator) for generator in draws]
