"""Greedy mixture reduction against plain loops over pairs: 200 components in 4 dimensions.

The plain versions compute the cost of every pair anew before every merge, one pair after another; inside a
pair their products with all components are NumPy arrays. They are timed on the first merges only, and ours on
the same ones, which includes all that it computes once. The formulas of the loops are written here. Ours has
one thread, since the loops have no use for more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from distill_bench import mixtures, seeding

__all__ = ["run"]

_COMPONENTS, _DIMENSION = 200, 4


class _Plain(NamedTuple):
    """A mixture in NumPy: weights (n,), means (n, d), covariances (n, d, d)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


PairCosts = Callable[[_Plain, _Plain], list[tuple[float, int, int]]]


def run() -> list[dict[str, Any]]:
    """Rows: seconds of both, their ratio, and whether the results agree to 1e-8."""
    f = mixtures.random(_COMPONENTS, _DIMENSION, seeding.generator(0, "benchmark"))
    runnalls = partial(mixtures.Cheapest, cost=mixtures.kl_bound)
    oggmr = partial(mixtures.NearestToOriginal, metric=mixtures.angular)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            _row("runnalls", f, runnalls, _kl_bounds, merges=8),
            _row("oggmr stage A", f, oggmr, _angles, merges=2),
        ]
    finally:
        torch.set_num_threads(threads)


def _row(
    name: str, f: mixtures.GaussianMixture, rule: mixtures.MakeRule, costs: PairCosts, merges: int
) -> dict[str, Any]:
    times = []
    for _ in range(4):
        began = time.perf_counter()
        reduction = mixtures.reduce_greedily(f, len(f) - merges, rule)
        times.append(time.perf_counter() - began)
    ours = median(times[1:])
    began = time.perf_counter()
    plain = _reduce(f, merges, costs)
    reference = time.perf_counter() - began
    g = reduction.mixture
    pairs = zip(plain, (g.weights, g.means, g.covariances), strict=True)
    return {
        "name": f"{name}, {_COMPONENTS} components, d = {_DIMENSION}, first {merges} merges only, one thread",
        "ours_seconds": ours,
        "reference_seconds": reference,
        "ratio": reference / ours,
        "equal": all(np.allclose(a, b.numpy(), rtol=0, atol=1e-8) for a, b in pairs),
    }


def _reduce(f: mixtures.GaussianMixture, merges: int, costs: PairCosts) -> _Plain:
    original = _Plain(f.weights.numpy(), f.means.numpy(), f.covariances.numpy())
    g = original
    for _ in range(merges):
        _, i, j = min(costs(original, g))
        merged = _merge(g, i, j)
        g = _Plain(*(_replaced(part, i, j, new) for part, new in zip(g, merged, strict=True)))
    return g


def _replaced(part: np.ndarray, i: int, j: int, new: Any) -> np.ndarray:
    part = part.copy()
    part[i] = new
    return np.delete(part, j, axis=0)


def _merge(g: _Plain, i: int, j: int) -> tuple[float, np.ndarray, np.ndarray]:
    weight = g.weights[i] + g.weights[j]
    a, b = g.weights[i] / weight, g.weights[j] / weight
    apart = g.means[i] - g.means[j]
    covariance = a * g.covariances[i] + b * g.covariances[j] + a * b * np.outer(apart, apart)
    return weight, a * g.means[i] + b * g.means[j], covariance


def _kl_bounds(_: _Plain, g: _Plain) -> list[tuple[float, int, int]]:
    """Runnalls' cost of every pair."""
    costs = []
    for i in range(len(g.weights)):
        for j in range(i + 1, len(g.weights)):
            weight, _mean, covariance = _merge(g, i, j)
            cost = weight * np.linalg.slogdet(covariance)[1]
            for k in (i, j):
                cost -= g.weights[k] * np.linalg.slogdet(g.covariances[k])[1]
            costs.append((0.5 * float(cost), i, j))
    return costs


def _angles(f: _Plain, g: _Plain) -> list[tuple[float, int, int]]:
    """The angle between f and the mixture after the merge, for every pair.

    The inner products of components that stay are computed once for all pairs; recomputing them too would
    take hours.
    """
    gram = np.stack([_products(g, *(part[k] for part in g)) for k in range(len(g.weights))])
    with_f = np.array([_products(f, *(part[k] for part in g)).sum() for k in range(len(g.weights))])
    log_ff = np.log(sum(_products(f, *(part[k] for part in f)).sum() for k in range(len(f.weights))))
    costs = []
    for i in range(len(g.weights)):
        for j in range(i + 1, len(g.weights)):
            merged = _merge(g, i, j)
            stay = np.ones(len(g.weights), dtype=bool)
            stay[[i, j]] = False
            fg = with_f[stay].sum() + _products(f, *merged).sum()
            own = merged[0] ** 2 / np.sqrt(np.linalg.det(4 * np.pi * merged[2]))
            left = gram.sum() - 2 * gram[[i, j]].sum() + gram[np.ix_([i, j], [i, j])].sum()
            gg = left + 2 * _products(g, *merged)[stay].sum() + own
            costs.append((float(np.arccos(min(1.0, np.exp(np.log(fg) - 0.5 * (log_ff + np.log(gg)))))), i, j))
    return costs


def _products(g: _Plain, weight: float, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Inner products of one weighted Gaussian with every component of g: (n,)."""
    total = g.covariances + covariance
    difference = g.means - mean
    squared = (difference * np.linalg.solve(total, difference[:, :, None])[:, :, 0]).sum(1)
    return weight * g.weights * np.exp(-0.5 * squared) / np.sqrt(np.linalg.det(2 * np.pi * total))
