"""Greedy reduction: choose two components, merge them, until few enough are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from distill_bench.errors import require
from distill_bench.mixtures.gaussian import GaussianMixture
from distill_bench.mixtures.merging import merge
from distill_bench.mixtures.products import Components

__all__ = ["MakeRule", "Reduction", "Rule", "Slots", "reduce_greedily"]

_NEGLIGIBLE = 1e-12  # parts of the total weight
_COMPACT = 0.75  # slots are compacted when fewer than this part of them is in use


@dataclass(frozen=True)
class Reduction:
    """A reduced mixture and how it came about.

    `merges` is the tree: components are numbered 0 .. N-1, and the k-th pair merged becomes component N + k.
    `dropped` counts components that were left out at the start because their weight was negligible.
    """

    mixture: GaussianMixture
    merges: list[tuple[int, int]]
    dropped: int = 0


class Slots:
    """Components under reduction. A merge writes the lower of two slots and empties the higher one; nothing
    moves until `compact` squeezes out the empty slots, so that what is known about the other slots stays
    where it is.

    `components` has one entry per slot, `used` (slots,) says which hold one, `count` how many do.
    """

    def __init__(self, f: GaussianMixture) -> None:
        self.components = Components.of(f)
        self.used = torch.ones(len(f), dtype=torch.bool, device=f.means.device)
        self.count = len(f)
        self.merges: list[tuple[int, int]] = []
        self._numbers = list(range(len(f)))
        self._next = len(f)

    def merge(self, i: int, j: int) -> None:
        """Put the merge of slots i < j into slot i and empty slot j."""
        lower, higher = slice(i, i + 1), slice(j, j + 1)
        self.components.put(lower, merge(self.components.at(lower), self.components.at(higher)))
        self.used[j] = False
        self.count -= 1
        self.merges.append((self._numbers[i], self._numbers[j]))
        self._numbers[i], self._next = self._next, self._next + 1

    def drop(self, gone: torch.Tensor) -> None:
        """Empty the slots `gone` (booleans) without merging; the total weight stays."""
        before = self.components.log_weights.logsumexp(0)
        self.used &= ~gone
        self.count = int(self.used.sum())
        after = self.components.log_weights[self.used].logsumexp(0)
        self.components.log_weights.add_(before - after)

    def compact(self) -> torch.Tensor:
        """Squeeze out empty slots; returns the old places of the slots that stay."""
        places = self.used.nonzero().squeeze(1)
        self.components = self.components.at(places)
        self._numbers = [self._numbers[slot] for slot in places.tolist()]
        self.used = self.used[places]
        return places


class Rule(Protocol):
    """Chooses the next merge, and keeps what it needs to know up to date."""

    def choose(self) -> tuple[int, int]:
        """The slots i < j to merge; the lowest pair among equals."""
        ...

    def merge(self, i: int, j: int) -> None:
        """Merge two slots."""
        ...

    def compact(self) -> None:
        """Compact the slots."""
        ...


MakeRule = Callable[[Slots], Rule]


def reduce_greedily(f: GaussianMixture, target: int, rule: MakeRule) -> Reduction:
    """Reduce `f` to at most `target` components by the rule that `rule` makes of the slots.

    Components below 1e-12 of the weight are dropped first, and identical ones are joined, which costs nothing
    and may leave fewer than `target`. A mixture that is small enough is returned as it is. UserError if
    `target` < 1.
    """
    require(target >= 1, "mixture.target", target, ">= 1")
    if len(f) <= target:
        return Reduction(f, [])
    slots = Slots(f)
    slots.drop(f.log_weights.log_softmax(0) < torch.tensor(_NEGLIGIBLE).log())
    dropped = len(f) - slots.count
    _join_identical(slots)
    slots.compact()
    if slots.count > target:
        chooser = rule(slots)
        while slots.count > target:
            chooser.merge(*chooser.choose())
            if slots.count < _COMPACT * len(slots.used):
                chooser.compact()
        slots.compact()
    return Reduction(slots.components.mixture(), slots.merges, dropped)


def _join_identical(slots: Slots) -> None:
    """Merge components in use that have the same mean and covariance, bit for bit."""
    c = slots.components
    rows = torch.cat([c.means, c.covariances.flatten(0, 1)]).mT
    kinds, kind = rows.unique(dim=0, return_inverse=True)
    if len(kinds) == len(kind):
        return
    first: dict[int, int] = {}
    for slot, this in enumerate(kind.tolist()):
        if slots.used[slot] and first.setdefault(this, slot) != slot:
            slots.merge(first[this], slot)
