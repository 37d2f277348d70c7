r"""The Kullback-Leibler divergence KL(f || g) = E_f[log f - log g], which has no closed form for mixtures.

It weighs the tails of f, which distances in L2 neglect: it can rise while they fall, so both are reported.
"""

from __future__ import annotations

import numpy as np
import torch

from distill_bench.mixtures.gaussian import GaussianMixture, log_density, sample

__all__ = ["kl_monte_carlo", "kl_quadrature"]

_NODES = 16  # Gauss-Legendre nodes of an interval
_REACH = 12  # standard deviations to either side of a component
_BLOCK = 2**21  # numbers in memory at a time


def kl_monte_carlo(
    f: GaussianMixture, g: GaussianMixture, generator: torch.Generator, points: int = 100_000
) -> float:
    """KL(f || g) in nats from `points` samples of f; unbiased, and so it can fall slightly below 0."""
    f, g = f.normalised().to(generator.device), g.normalised().to(generator.device)
    x = sample(f, points, generator)
    block = max(1, _BLOCK // (f.dimension * (len(f) + len(g))))
    return float(torch.cat([log_density(f, part) - log_density(g, part) for part in x.split(block)]).mean())


def kl_quadrature(f: GaussianMixture, g: GaussianMixture) -> float:
    """KL(f || g) in nats for d = 1, by Gauss-Legendre quadrature.

    Intervals end at every whole standard deviation of every component of both, so that each is smooth within
    an interval; what lies beyond 12 standard deviations of all of them is left out. ValueError if d > 1.
    """
    if f.dimension != 1:
        raise ValueError(f"quadrature is for one dimension, got {f.dimension}")
    f, g = f.normalised(), g.normalised()
    steps = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64, device=f.means.device)
    ends = torch.cat([(h.means + h.covariances[:, 0].sqrt() * steps).flatten() for h in (f, g)]).unique()
    nodes, weights = (torch.from_numpy(part).to(ends) for part in np.polynomial.legendre.leggauss(_NODES))
    half = ends.diff()[:, None] / 2
    x = (ends[:-1, None] + half + half * nodes).flatten()
    log_f, log_g = log_density(f, x[:, None]), log_density(g, x[:, None])
    return float(((half * weights).flatten() * log_f.exp() * (log_f - log_g)).sum())
