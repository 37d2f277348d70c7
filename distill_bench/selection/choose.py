"""Which images of a class's pool are kept.

Each image has a random key of its own, and draws follow the order of the keys: which images are kept does not
depend on the order in which the pool comes. Legend: M images of the pool, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Choice", "fill_bins", "most_extreme", "most_or_least_confident", "places_in_group"]

CONFIDENT_UP_TO = 49  # images per class up to which the most confident are kept, and above which the least


@dataclass(frozen=True)
class Choice:
    """Places in the pool of the images that are kept, and how many of them the rule itself could not give."""

    places: Tensor
    shortage: int


def fill_bins(numbers_M: Tensor, quotas_B: Tensor, keys_M: Tensor) -> Choice:
    """Draw `quotas_B[k]` images of each bin k, uniformly and without replacement.

    A bin with fewer gives all it has; what is missing is drawn from the rest of the pool.
    """
    within_M = places_in_group(numbers_M, keys_M) < quotas_B[numbers_M]
    shortage = int(quotas_B.sum() - within_M.sum())
    first_within_M = keys_M + torch.where(within_M, 0.0, 1.0)  # keys lie in [0, 1)
    return Choice(first_within_M.argsort(stable=True)[: int(quotas_B.sum())], shortage)


def most_extreme(difficulty_M: Tensor, keys_M: Tensor, count: int, *, hardest: bool) -> Choice:
    """The `count` easiest or hardest images, in that order; ties are drawn."""
    by_key = keys_M.argsort()
    order = difficulty_M[by_key].argsort(descending=hardest, stable=True)
    return Choice(by_key[order[:count]], 0)


def most_or_least_confident(difficulty_M: Tensor, right_M: Tensor, keys_M: Tensor, count: int) -> Choice:
    """Of the images that the classifier gets right, the `count` most confident, or for a `count` of 50 and
    more the least confident: the rule of another diffusion distiller, CaO2, as recalled (it leaves 10 to 50
    open).

    If there are fewer, the easiest of the others fill up.
    """
    least = count > CONFIDENT_UP_TO
    rank_M = torch.where(
        right_M, -difficulty_M if least else difficulty_M, difficulty_M + 2
    )  # difficulty is in [0, 1]
    return Choice(
        most_extreme(rank_M, keys_M, count, hardest=False).places, max(0, count - int(right_M.sum()))
    )


def places_in_group(groups_M: Tensor, keys_M: Tensor) -> Tensor:
    """The place 0, 1, ... of each image among those of its group (whole numbers), in the order of the
    keys."""
    by_key = keys_M.argsort()
    order = by_key[groups_M[by_key].argsort(stable=True)]
    counts = groups_M.bincount()
    starts = counts.cumsum(0) - counts
    places_M = torch.empty_like(groups_M)
    places_M[order] = torch.arange(len(order), device=order.device) - starts[groups_M[order]]
    return places_M
