"""Rules that judge two components by themselves: each pair has a cost, and the cheapest is merged."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from distill_bench.mixtures.greedy import Slots
from distill_bench.mixtures.merging import merge
from distill_bench.mixtures.metric import Distance, ise
from distill_bench.mixtures.products import (
    Components,
    log_determinant,
    log_products_paired,
    log_self_products,
)

__all__ = ["Cheapest", "PairCost", "kl_bound", "pair_distance", "pair_ise"]

_BLOCK = 2**16  # pairs at a time when all are computed

# (components, i (p,), j (p,)) -> the cost of merging i[0] with j[0], i[1] with j[1], ...: (p,)
PairCost = Callable[[Components, torch.Tensor, torch.Tensor], torch.Tensor]


def kl_bound(c: Components, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    r"""Runnalls' upper bound of the increase of the Kullback-Leibler divergence (IEEE TAES 2007):

    .. math:: \tfrac12\left[(w_i + w_j)\log|P_{ij}| - w_i\log|S_i| - w_j\log|S_j|\right]
    """
    weighted = c.log_weights.exp() * log_determinant(c.covariances)
    merged = merge(c.at(i), c.at(j))
    return 0.5 * (merged.log_weights.exp() * log_determinant(merged.covariances) - weighted[i] - weighted[j])


def pair_distance(metric: Distance) -> PairCost:
    """The distance between the two components, as a mixture of their own, and their merge."""

    def cost(c: Components, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        total = torch.logaddexp(c.log_weights[i], c.log_weights[j])
        pair, pair_merged, merged = _log_inner_products(c, i, j)
        return metric(pair - 2 * total, pair_merged - 2 * total, merged - 2 * total)

    return cost


def pair_ise(c: Components, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    """Integrated squared error between the two weighted components and their weighted merge (Williams,
    2003)."""
    return ise(*_log_inner_products(c, i, j))


def _log_inner_products(
    c: Components, i: torch.Tensor, j: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log <u, u>, log <u, m> and log <m, m> of the weighted pairs u and their weighted merges m, (p,)
    each."""
    a, b = c.at(i), c.at(j)
    m = merge(a, b)
    own = 2 * c.log_weights + log_self_products(c)
    both = math.log(2) + a.log_weights + b.log_weights + log_products_paired(a, b)
    pair = torch.stack([own[i], own[j], both]).logsumexp(0)
    with_merge = torch.stack([part.log_weights + log_products_paired(part, m) for part in (a, b)]).logsumexp(
        0
    )
    return pair, m.log_weights + with_merge, 2 * m.log_weights + log_self_products(m)


class Cheapest:
    """Merges the cheapest pair. Costs lie in a square matrix above the diagonal, infinite elsewhere; a merge
    renews only those of the new component."""

    def __init__(self, slots: Slots, cost: PairCost) -> None:
        self.slots = slots
        self.cost = cost
        n = len(slots.used)
        i, j = torch.triu_indices(n, n, 1, device=slots.used.device)
        self.costs = slots.components.means.new_full((n, n), math.inf)
        blocks = zip(i.split(_BLOCK), j.split(_BLOCK), strict=True)
        self.costs[i, j] = torch.cat([cost(slots.components, *block) for block in blocks])

    def choose(self) -> tuple[int, int]:
        """The cheapest pair, the lowest among equals."""
        return divmod(int(self.costs.argmin()), self.costs.shape[1])

    def merge(self, i: int, j: int) -> None:
        """Merge slots i < j and renew the costs of the new component."""
        self.slots.merge(i, j)
        self.costs[j, :] = self.costs[:, j] = math.inf
        others = self.slots.used.clone()
        others[i] = False
        other = others.nonzero().squeeze(1)
        low, high = other.clamp_max(i), other.clamp_min(i)
        self.costs[low, high] = self.cost(self.slots.components, low, high)

    def compact(self) -> None:
        """Compact the slots, and the costs with them."""
        places = self.slots.compact()
        self.costs = self.costs[places][:, places]
