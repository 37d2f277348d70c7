"""The search of the thresholds of difficulty-guided sampling against a plain triple loop: thresholds and
images.

Scores are skewed as those of a classifier are; pools of five times IPC images, one class. Ours has one
thread, since the loop has no use for more. The two results must be the same thresholds, with the same score.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from distill_bench.selection import Thresholds, best_thresholds
from scripts.timing import median_seconds

__all__ = ["run"]

_FLOOR = 1e-4


def run() -> list[dict[str, Any]]:
    """Rows: seconds of both, their ratio, and whether the results are equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_row(per_class) for per_class in (10, 20, 50)]
    finally:
        torch.set_num_threads(threads)


def _row(per_class: int) -> dict[str, Any]:
    scores = np.random.default_rng(0).beta(0.3, 3.0, 5 * per_class).round(4)
    values = torch.from_numpy(scores)
    ours, plain = best_thresholds(values, per_class), _plain(scores.tolist(), per_class)
    seconds, reference = median_seconds(
        [lambda: best_thresholds(values, per_class), lambda: _plain(scores.tolist(), per_class)],
        repeats=9,
        warmup=2,
    )
    return {
        "name": f"threshold search, ipc {per_class}, a pool of {5 * per_class}",
        "ours_seconds": seconds,
        "reference_seconds": reference,
        "ratio": reference / seconds,
        "equal": (ours.easiest, ours.hardest) == (plain.easiest, plain.hardest)
        and (ours.score == plain.score or math.isclose(ours.score, plain.score, rel_tol=1e-9)),
    }


def _plain(difficulty: list[float], per_class: int) -> Thresholds:
    """The best thresholds by the definition, one pair and one image after another."""
    ordered, best = sorted(difficulty), Thresholds(0, 0, math.inf)
    raw = [0] * 10
    for d in difficulty:
        raw[min(int(10 * d), 9)] += 1
    for b in range(per_class // 2):
        for t in range(per_class // 2):
            lo, hi = ordered[b] or _FLOOR, ordered[len(ordered) - 1 - t]
            counts = [0] * 10
            for d in difficulty:
                z = math.log(min(max(d, lo), hi) / lo) / math.log(hi / lo)
                counts[min(int(10 * z), 9)] += 1
            score = 0.5 * _divergence(raw, counts) + 0.5 * _divergence([1] * 10, counts)
            if score < best.score:
                best = Thresholds(b, t, score)
    return best


def _divergence(p: list[int], q: list[int]) -> float:
    """KL in bits of two histograms."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        if a and not b:
            return math.inf
        if a:
            total += a / sum(p) * math.log2(a / sum(p) / (b / sum(q)))
    return total
