"""How much diversity may be rewarded before a wrong label scores best."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["safe_beta"]

GRID = 10_000


def safe_beta(centroid_K: Tensor, label: int) -> float:
    r"""The largest b for which r(q) = log q_y + b KL(q || R) is greatest at q = e_y, for a fixed centroid R >
    0.

    .. math:: b^*(R) = \min_p
        \frac{-\log p}{p \log\frac{p}{R_y} + (1-p) \log\frac{1-p}{R_m} - \log\frac{1}{R_y}}

    over p in (0, 1) where the denominator is positive, R_m the smallest entry but y's: KL is convex, so at a
    given q_y = p it is greatest with the rest on the rarest class. Infinite where no p is found. On a grid of
    10,000 points.
    """
    r = centroid_K.double().cpu()
    own = r[label]
    rarest = torch.cat([r[:label], r[label + 1 :]]).min()
    p = torch.linspace(0, 1, GRID + 2, dtype=torch.float64)[1:-1]
    gain = p * (p / own).log() + (1 - p) * ((1 - p) / rarest).log() + own.log()
    bound = torch.where(gain > 0, -p.log() / gain, torch.inf)
    return float(bound.min())
