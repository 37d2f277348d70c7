r"""How far a classifier's probabilities may be believed, in one pass over a split.

Legend: N samples, K classes, labels y, P = softmax of the logits, top probability p = max P.

.. math:: \mathrm{Brier} = \frac1N \sum \lVert P - e_y \rVert^2 \in [0, 2], \qquad
    \mathrm{ECE} = \sum_b \frac{|B_b|}{N} \left| \frac{1}{|B_b|} \sum_{B_b} (1\{\text{right}\} - p) \right|
    \in [0, 1]

Brier, Monthly Weather Review 1950 (the sum over classes); Guo et al., "On calibration of modern neural
networks", ICML 2017: bins of equal width, each without its lower and with its upper bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BINS", "CalibrationMeter"]

BINS = 15  # of the top probability, as in Guo et al.


class CalibrationMeter:
    """Sums over batches of logits, in double precision on one device.

    Nothing is read from the device before `compute`.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.samples = 0
        self.brier = torch.zeros((), dtype=torch.float64, device=device)
        self.excess = torch.zeros(BINS, dtype=torch.float64, device=device)  # hits less top probabilities
        bounds = torch.arange(1, BINS, dtype=torch.float64, device=device)
        self.bounds = bounds / BINS
        self.bins = torch.arange(BINS, device=device)

    @torch.no_grad()
    def update(self, logits_NK: Tensor, labels_N: Tensor) -> None:
        """Add samples: finite logits of any floating-point type, labels 0 .. K-1, on the meter's device."""
        p = logits_NK.double().softmax(1)
        own = p.gather(1, labels_N[:, None]).sum()
        self.brier += p.square().sum() - 2 * own + len(p)
        top, guess = p.max(1)
        members = (torch.bucketize(top, self.bounds) == self.bins[:, None]).double()
        self.excess += members @ ((guess == labels_N).double() - top)
        self.samples += len(p)

    def compute(self) -> dict[str, float]:
        """`brier` and `ece` so far. ValueError if there was no sample."""
        if not self.samples:
            raise ValueError("a meter that has seen no sample has no reading")
        brier, ece = float(self.brier), float(self.excess.abs().sum())
        return {"brier": max(0.0, brier) / self.samples, "ece": ece / self.samples}
