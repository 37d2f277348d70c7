"""Mixtures and slow, obvious formulas for the tests of mixture reduction."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import torch
from torch.distributions import MultivariateNormal

from distill_bench import mixtures
from distill_bench.context import Context
from distill_bench.groups import MixtureConfig
from distill_bench.interrupt import Interrupt
from distill_bench.mixtures import GaussianMixture
from distill_bench.store import Cache, Checkpoints
from distill_bench.tracking import Tracker


def random_mixture(seed: int, components: int = 6, dimension: int = 2) -> GaussianMixture:
    """A seeded random mixture."""
    return mixtures.random(components, dimension, torch.Generator().manual_seed(seed))


def joined(*parts: GaussianMixture) -> GaussianMixture:
    """All components of `parts`, with their weights as they are."""
    fields = ("log_weights", "means", "covariances")
    return GaussianMixture(*(torch.cat([getattr(part, field) for part in parts]) for field in fields))


def transformed(f: GaussianMixture, a: torch.Tensor, b: torch.Tensor) -> GaussianMixture:
    """The mixture of A x + b."""
    return GaussianMixture(f.log_weights, f.means @ a.mT + b, a @ f.covariances @ a.mT)


def angle(f: GaussianMixture, g: GaussianMixture) -> float:
    """D(f, g)."""
    return float(mixtures.distance(f, g, mixtures.angular))


def merged(f: GaussianMixture, i: int, j: int) -> GaussianMixture:
    """f with component i replaced by the merge of i and j, and without j, by the textbook formulas."""
    w = f.weights
    total = w[i] + w[j]
    a, b = w[i] / total, w[j] / total
    mean = a * f.means[i] + b * f.means[j]
    apart = f.means[i] - f.means[j]
    covariance = a * f.covariances[i] + b * f.covariances[j] + a * b * torch.outer(apart, apart)
    out = GaussianMixture(f.log_weights.clone(), f.means.clone(), f.covariances.clone())
    out.log_weights[i], out.means[i], out.covariances[i] = total.log(), mean, covariance
    return out.select(torch.tensor([k for k in range(len(f)) if k != j]))


def inner_product(f: GaussianMixture, g: GaussianMixture) -> float:
    """<f, g> by the product rule, one pair after another."""
    total = 0.0
    for a in range(len(f)):
        for b in range(len(g)):
            zero = torch.zeros(f.dimension, dtype=torch.float64)
            normal = MultivariateNormal(zero, f.covariances[a] + g.covariances[b])
            value = normal.log_prob(f.means[a] - g.means[b]) + f.log_weights[a] + g.log_weights[b]
            total += float(value.exp())
    return total


def pairs_of(n: int) -> Iterator[tuple[int, int]]:
    """i < j in order."""
    return combinations(range(n), 2)


def make_context(folder: Path, **mixture: object) -> Context:
    """The context of a method that reduces mixtures, with its work in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return Context(
        device=torch.device("cpu"),
        seed=0,
        cache=Cache(folder / "cache"),
        checkpoints=Checkpoints(folder, {}),
        tracker=Tracker(folder / "metrics.jsonl"),
        interrupt=Interrupt(),
        owner="a test",
        groups={"mixture": MixtureConfig(**mixture)},  # type: ignore[arg-type]
        load_dataset=lambda: None,  # type: ignore[arg-type,return-value]
        load_part=lambda _: None,
    )
