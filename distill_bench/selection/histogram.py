"""Histograms of ten equal bins on [0, 1], their divergence, and whole numbers in proportion to them.

Legend: B = 10 bins, M values.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BINS", "bin_numbers", "divergence", "histogram", "largest_remainder"]

BINS = 10


def bin_numbers(values: Tensor) -> Tensor:
    """The bin 0 .. B-1 of each value of [0, 1]; the last bin is closed.

    Every count and every draw uses these numbers, so that no image lies in one bin here and in another there.
    A score of k/10 lies in bin k. In the published code 0.3, 0.6 and 0.7 are counted one bin lower, since
    NumPy's edges there are a rounding error too high.
    """
    return (values * BINS).long().clamp(0, BINS - 1)


def histogram(numbers_M: Tensor) -> Tensor:
    """Images in each bin: bin numbers (M,) -> (B,)."""
    return numbers_M.bincount(minlength=BINS)


def divergence(p_B: Tensor, q_B: Tensor, smoothing: float = 0.0) -> Tensor:
    r"""Kullback-Leibler divergence in bits of two histograms, each normalised after `smoothing` is added to
    its bins.

    .. math:: KL(p \| q) = \sum_k p_k \log_2 (p_k / q_k)

    An empty bin of p adds nothing; an empty bin of q that p has images in makes it infinite. Leading axes
    broadcast.
    """
    p_B, q_B = (counts.double() + smoothing for counts in (p_B, q_B))
    p_B, q_B = p_B / p_B.sum(-1, keepdim=True), q_B / q_B.sum(-1, keepdim=True)
    return torch.where(p_B > 0, p_B * (p_B / q_B).log2(), 0.0).sum(-1)


def largest_remainder(weights_B: Tensor, total: int) -> Tensor:
    """Whole numbers (B,) in proportion to whole `weights_B`, whose sum is `total`.

    Every share is rounded down, and what is missing goes to the largest fractional parts, of equal ones to
    the first (our choice). Integer arithmetic throughout: no rounding decides. In the published code equal
    parts differ by rounding errors, and a sort that is not stable settles the rest.
    """
    shares_B, whole = weights_B.long() * total, int(weights_B.sum())
    numbers_B, remainders_B = shares_B // whole, shares_B % whole
    missing = total - int(numbers_B.sum())
    numbers_B[remainders_B.argsort(descending=True, stable=True)[:missing]] += 1
    return numbers_B
