"""The global rule: merge the pair after which the mixture is nearest to the *original* one.

Earlier losses are seen, and can be compensated. The distance after every possible merge follows exactly from
sums that change little from step to step, so that a step costs O(n^2 + n N) products of Gaussians in place of
O(n^4).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from distill_bench.mixtures.greedy import Slots
from distill_bench.mixtures.merging import merge
from distill_bench.mixtures.metric import Distance
from distill_bench.mixtures.pair_cost import pair_distance
from distill_bench.mixtures.products import Components, block_size, log_products, log_self_products

__all__ = ["NearestToOriginal"]

_TINY = 1e-300  # what rounding below zero is raised to, before a logarithm


class _Pairs(NamedTuple):
    """Candidates (p,): slots first < second, whether the place is taken, and inner products of the merge m,
    all relative to <f, f>."""

    first: torch.Tensor
    second: torch.Tensor
    open: torch.Tensor
    merged: Components  # m
    with_f: torch.Tensor  # <f, m>
    with_g: torch.Tensor  # <g, m>, of the mixture g before the merge
    with_parts: torch.Tensor  # <m, w_i N_i + w_j N_j>
    own: torch.Tensor  # <m, m>

    @classmethod
    def of(cls, c: Components, first: torch.Tensor, second: torch.Tensor) -> _Pairs:
        """Candidates whose inner products are still to be computed."""
        merged = merge(c.at(first), c.at(second))
        products = (torch.zeros_like(merged.log_weights) for _ in range(4))
        return cls(first, second, torch.ones_like(first, dtype=torch.bool), merged, *products)

    def at(self, rows: torch.Tensor) -> _Pairs:
        """The candidates at `rows`."""
        parts = (part.at(rows) if isinstance(part, Components) else part[rows] for part in self)
        return _Pairs(*parts)  # type: ignore[arg-type]


class NearestToOriginal:
    r"""Chooses the pair (i, j) with the smallest D(f, g_ij), where g_ij is g with i and j merged into m.

    With G[a,b] = <w_a N_a, w_b N_b> over the components of g, r = G 1, s = 1'G1 and A[a] = <f, w_a N_a>:

    .. math::
        \langle f, g_{ij}\rangle &= \sum A - A_i - A_j + \langle f, m\rangle \\
        \langle g_{ij}, g_{ij}\rangle &= s - 2 r_i - 2 r_j + G_{ii} + G_{jj} + 2 G_{ij}
            + 2\big(\langle g, m\rangle - \langle w_i N_i + w_j N_j, m\rangle\big) + \langle m, m\rangle

    After a merge the candidates of the new component are computed anew. In <g, m> of all others three terms
    change, those of the two components that went and of the one that came, so that sums are enough and no
    table of products with every component (n^3 / 2 numbers) has to be held.

    Above `all_pairs` components only pairs near each other are candidates: each component with its
    `neighbours` nearest, by the distance of the pair to its merge; a merged component inherits the partners
    of both its parts. The greedy form, this criterion and these limits are our choice.
    """

    gram: torch.Tensor  # G over <f, f>; 0 in rows and columns of empty slots
    with_f: torch.Tensor  # A over <f, f>; 0 for empty slots
    pairs: _Pairs
    restricted: bool  # not every pair is a candidate

    def __init__(self, slots: Slots, metric: Distance, all_pairs: int = 400, neighbours: int = 20) -> None:
        self.slots = slots
        self.metric = metric
        self.all_pairs = all_pairs
        self.neighbours = neighbours
        self.original = slots.components.at(slots.used.nonzero().squeeze(1))
        weights = self.original.log_weights
        products = log_products(self.original, self.original) + weights[:, None] + weights
        self.log_ff = products.flatten().logsumexp(0)
        self.merged_any = False
        self._start()

    def costs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(i, j, distance to the original after merging them) of every candidate, (p,) each."""
        rows = self.pairs.open
        return self.pairs.first[rows], self.pairs.second[rows], self._costs()[rows]

    def choose(self) -> tuple[int, int]:
        """The pair after whose merge the mixture is nearest to the original, the lowest among equals."""
        if not self.pairs.open.any():
            self._start()
        cost, size = self._costs(), len(self.slots.used)
        number = self.pairs.first * size + self.pairs.second
        return divmod(int(torch.where(cost == cost.min(), number, size * size).min()), size)

    def merge(self, i: int, j: int) -> None:
        """Merge slots i < j and bring every sum up to date."""
        self.merged_any = True
        for gone in (i, j):
            self.pairs.with_g.sub_(self._products(self._slot(gone), self.pairs.merged)[0])
        self.slots.merge(i, j)
        new = self._slot(i)
        self.pairs.with_g.add_(self._products(new, self.pairs.merged)[0])
        self.gram[j, :] = self.gram[:, j] = 0
        self.gram[i, :] = self.gram[:, i] = self._products(new, self.slots.components)[0] * self.slots.used
        self.with_f[i], self.with_f[j] = self._products(new, self.original).sum(), 0
        self._renew_pairs(i, j)

    def compact(self) -> None:
        """Compact the slots, and what is kept about them; all pairs are candidates again once they are
        few."""
        size = len(self.slots.used)
        places = self.slots.compact()
        if self.restricted and self.slots.count <= self.all_pairs:
            self._start()
            return
        successor = torch.zeros(size, dtype=torch.long, device=places.device)
        successor[places] = torch.arange(len(places), device=places.device)
        self.gram, self.with_f = self.gram[places][:, places], self.with_f[places]
        pairs = self.pairs.at(self.pairs.open.nonzero().squeeze(1))
        self.pairs = pairs._replace(first=successor[pairs.first], second=successor[pairs.second])

    def _start(self) -> None:
        """Compute everything from the components as they are."""
        if self.slots.count < len(self.slots.used):
            self.slots.compact()
        c = self.slots.components
        self.gram = self._products(c, c)
        self.with_f = self._products(c, self.original).sum(1)
        self.restricted = c.size > self.all_pairs
        near = self._near() if self.restricted else torch.ones_like(self.gram, dtype=torch.bool)
        first, second = near.triu(1).nonzero().unbind(1)
        self.pairs = _Pairs.of(c, first.clone(), second.clone())
        self._compute(torch.arange(len(first), device=first.device))

    def _costs(self) -> torch.Tensor:
        """The distance to the original after each merge, infinite where the place is free."""
        pairs, sums = self.pairs, self.gram.sum(1)
        i, j = pairs.first, pairs.second
        log_fg = _log(self.with_f.sum() - self.with_f[i] - self.with_f[j] + pairs.with_f)
        own = self.gram[i, i] + self.gram[j, j] + 2 * self.gram[i, j]
        rest = sums.sum() - 2 * (sums[i] + sums[j]) + own
        log_gg = _log(rest + 2 * (pairs.with_g - pairs.with_parts) + pairs.own)
        cost = self.metric(torch.zeros_like(log_gg), log_fg, log_gg)
        return torch.where(pairs.open, cost, torch.inf)

    def _renew_pairs(self, i: int, j: int) -> None:
        """Pairs of i or j give their places to the pairs of i with every partner that either had."""
        pairs = self.pairs
        touched = (pairs.first == i) | (pairs.second == i) | (pairs.first == j) | (pairs.second == j)
        rows = (touched & pairs.open).nonzero().squeeze(1)
        pairs.open[rows] = False
        partner = torch.zeros_like(self.slots.used)
        partner[pairs.first[rows]] = partner[pairs.second[rows]] = True
        partner[i] = partner[j] = False
        other = partner.nonzero().squeeze(1)
        rows = rows[: len(other)]
        pairs.open[rows] = True
        pairs.first[rows], pairs.second[rows] = other.clamp_max(i), other.clamp_min(i)
        c = self.slots.components
        pairs.merged.put(rows, merge(c.at(pairs.first[rows]), c.at(pairs.second[rows])))
        self._compute(rows)

    def _compute(self, rows: torch.Tensor) -> None:
        """The inner products of the candidates `rows`, a block at a time."""
        c, pairs = self.slots.components, self.pairs
        for block in rows.split(max(1, block_size(rows.device) // c.size)):
            merged = pairs.merged.at(block)
            with_each = self._products(merged, c) * self.slots.used
            pairs.with_g[block] = with_each.sum(1)
            parts = torch.stack([pairs.first[block], pairs.second[block]], 1)
            pairs.with_parts[block] = with_each.gather(1, parts).sum(1)
            if self.merged_any:  # else g is f
                with_each = self._products(merged, self.original)
            pairs.with_f[block] = with_each.sum(1)
            pairs.own[block] = (2 * merged.log_weights + log_self_products(merged) - self.log_ff).exp()

    def _products(self, a: Components, b: Components) -> torch.Tensor:
        """Inner products of weighted components over <f, f>: (A, B)."""
        weights = a.log_weights[:, None] + (b.log_weights - self.log_ff)
        return log_products(a, b).add_(weights).exp_()

    def _slot(self, slot: int) -> Components:
        return self.slots.components.at(torch.tensor([slot], device=self.slots.used.device))

    def _near(self) -> torch.Tensor:
        """Which components are among each other's nearest, (n, n), symmetric."""
        c = self.slots.components
        cost_of = pair_distance(self.metric)
        everyone = torch.arange(c.size, device=c.means.device)
        near = torch.zeros(c.size, c.size, dtype=torch.bool, device=c.means.device)
        for i in everyone.split(max(1, 2**20 // c.size)):
            cost = cost_of(c, i.repeat_interleave(c.size), everyone.repeat(len(i))).view(len(i), c.size)
            cost.scatter_(1, i[:, None], torch.inf)
            near[i] = near[i].scatter(1, cost.topk(self.neighbours, largest=False).indices, True)
        return near | near.mT


def _log(values: torch.Tensor) -> torch.Tensor:
    return values.clamp_min(_TINY).log()
