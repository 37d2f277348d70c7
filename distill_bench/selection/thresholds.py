"""Difficulty on a trimmed logarithmic scale, and how much to trim.

Legend: M images of one class, n = floor(IPC / 2) candidates of each threshold, B bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_bench.selection.histogram import BINS, bin_numbers, divergence, histogram

__all__ = ["FLOOR", "Thresholds", "best_thresholds", "bounds", "log_difficulty"]

FLOOR = 1e-4  # stands for a lower bound of 0, and is the least difficulty on the new scale


@dataclass(frozen=True)
class Thresholds:
    """How many of the easiest and of the hardest images lie outside the scale, and the score of this choice
    (bits)."""

    easiest: int  # b
    hardest: int  # t
    score: float  # infinite if every candidate leaves a bin empty

    @property
    def finite(self) -> bool:
        """Whether some candidate had a finite score."""
        return math.isfinite(self.score)


def bounds(difficulty_M: Tensor, easiest: int, hardest: int) -> tuple[float, float]:
    """(lo, hi): the order statistics s[b] and s[M-1-t] of the sorted difficulties; a lo of 0 becomes
    `FLOOR`."""
    ordered = difficulty_M.sort().values
    return float(ordered[easiest]) or FLOOR, float(ordered[len(ordered) - 1 - hardest])


def log_difficulty(difficulty_M: Tensor, lo: float, hi: float) -> Tensor:
    r"""Difficulty on the logarithmic scale from `lo` to `hi`, in [`FLOOR`, 1].

    .. math:: z = \log(d / lo) / \log(hi / lo), \quad d \text{ clipped to } [lo, hi]

    If hi <= lo (all kept scores agree, or a perfect classifier), where this has no value, 0.5 for all: our
    choice.
    """
    if hi <= lo:
        return torch.full_like(difficulty_M, 0.5, dtype=torch.float64)
    lo_log, hi_log = torch.tensor([lo, hi], dtype=torch.float64, device=difficulty_M.device).log()
    return _between(difficulty_M.double().log(), lo_log, hi_log).clamp_min(FLOOR)


def best_thresholds(
    difficulty_M: Tensor, per_class: int, balance: float = 0.5, smoothing: float = 0.0
) -> Thresholds:
    r"""The thresholds of one class's pool, of all 0 <= b, t < floor(IPC / 2), which minimise

    .. math:: \lambda KL(h(d) \| h(z_{b,t})) + (1 - \lambda) KL(u \| h(z_{b,t}))

    h: histogram, u: the uniform one; in bits, lambda is `balance`. The first term stays near the raw shape,
    the second spreads the images out. An empty bin of h(z) makes its candidate infinite; of equal candidates,
    also if all are infinite, the first wins, beginning with (0, 0). `smoothing` images are added to every
    bin. IPC 1 has the candidate (0, 0) alone (our choice: the published search is empty).
    """
    ordered_M = difficulty_M.double().sort().values
    candidates = max(1, per_class // 2)
    logs_M = ordered_M.log()
    lo_n = torch.where(ordered_M > 0, logs_M, math.log(FLOOR))[:candidates]
    hi_n = logs_M.flip(0)[:candidates]
    counts_nnB = _counts(logs_M, lo_n[:, None, None], hi_n[None, :, None])
    raw_B, uniform_B = histogram(bin_numbers(ordered_M)), torch.ones(BINS, device=logs_M.device)
    # a term without weight is left out: 0 times infinity is not 0
    terms = [(weight, p_B) for weight, p_B in ((balance, raw_B), (1 - balance, uniform_B)) if weight > 0]
    scores_nn = torch.stack([weight * divergence(p_B, counts_nnB, smoothing) for weight, p_B in terms]).sum(0)
    best = int(scores_nn.argmin())
    return Thresholds(best // candidates, best % candidates, float(scores_nn.flatten()[best]))


def _counts(logs_M: Tensor, lo_b11: Tensor, hi_1t1: Tensor) -> Tensor:
    """Images in each bin of the scale between each pair of bounds, (b, t, B); `logs_M` ascends, all are
    logarithms.

    The scale ascends with difficulty, so the bins begin at places that bisection finds: for each edge, how
    many images lie below it. It computes what `log_difficulty` computes, so that no image is rounded into
    another bin.
    """
    edges = torch.arange(1, BINS, device=logs_M.device)
    steps = [1 << k for k in reversed(range(len(logs_M).bit_length()))]
    filled = torch.nn.functional.pad(
        logs_M, (0, 2 * steps[0] - len(logs_M)), value=math.inf
    )  # in the last bin
    scale = hi_1t1 > lo_b11
    below = torch.zeros(len(lo_b11), hi_1t1.shape[1], BINS - 1, dtype=torch.long, device=logs_M.device)
    for step in steps:
        z = torch.where(scale, _between(filled[below + (step - 1)], lo_b11, hi_1t1), 0.5)
        below += step * (BINS * z < edges)
    below.clamp_(max=len(logs_M))  # without a scale, the filling counts as 0.5 too
    ends = [torch.full_like(below[..., :1], number) for number in (0, len(logs_M))]
    return torch.cat([ends[0], below, ends[1]], dim=-1).diff(dim=-1)


def _between(logs: Tensor, lo_log: Tensor, hi_log: Tensor) -> Tensor:
    """Where the logarithms lie between two bounds: 0 at or below the lower, 1 at or above the upper."""
    return (logs.maximum(lo_log).minimum(hi_log) - lo_log) / (hi_log - lo_log)
