r"""Conditional mutual information, separation and their ratio of a classifier, in one pass over a split.

Legend: N samples, K classes, labels y, P = softmax of the logits, pi_y = n_y / N.

Yang et al., "Conditional mutual information constrained deep learning", TNNLS; the sums are ours: with
:math:`S_y = \sum P`, :math:`T_y = \sum \ln P` and :math:`h_y = \sum H(P)` over the samples of class y,

.. math:: I(X; \hat Y | y) = H(S_y / n_y) - h_y / n_y, \qquad
    \Gamma = -\sum_{y \ne v} \pi_y \pi_v\, \frac{S_y}{n_y} \cdot \frac{T_v}{n_v}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distill_bench.information.measures import members, separation_of_sums

__all__ = ["InformationMeter", "Reading"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the samples that a meter has seen say of a classifier; information in nats."""

    samples: int
    errors: int  # samples whose largest logit is another class's
    cross_entropy: float  # mean -ln P(y), the negative log-likelihood
    cmi: float  # I(X; Yhat | Y) >= 0, with the samples' own centroids and class frequencies
    separation: float  # Gamma >= 0: cross-entropy of pairs of different labels, 0 for pairs of equal ones
    ncmi: float  # cmi / separation; NaN where the separation is 0, as it is for one class
    class_cmi: list[float]  # I(X; Yhat | y) >= 0 of each class; NaN for a class without samples

    @property
    def error(self) -> float:
        """Share of the samples that are errors, in [0, 1]."""
        return self.errors / self.samples


class InformationMeter:
    """Sums over batches of logits, in double precision on one device, from which all of `Reading` follows.

    O(K^2) memory whatever the number of samples, and nothing is read from the device before `compute`. The
    sums of parts of a split, in any order and on any machines, `merge` into those of the whole.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        zeros = torch.zeros(classes, dtype=torch.float64, device=device)
        square = zeros.new_zeros(classes, classes)
        self.sums = {
            "samples": zeros,  # n_y
            "entropy": zeros.clone(),  # h_y
            "q": square,  # S_y, a row a class
            "log_q": square.clone(),  # T_y
            "cross_entropy": zeros.new_zeros(()),
            "errors": zeros.new_zeros(()),
        }

    @torch.no_grad()
    def update(self, logits_NK: Tensor, labels_N: Tensor) -> None:
        """Add samples: finite logits of any floating-point type, labels 0 .. K-1, on the meter's device."""
        log_q = logits_NK.double().log_softmax(1)
        q = log_q.exp()
        members_KN = members(labels_N, len(self.sums["samples"]), torch.float64)
        self._add(
            samples=members_KN.sum(1),
            entropy=members_KN @ -torch.special.xlogy(q, q).sum(1),
            q=members_KN @ q,
            log_q=members_KN @ log_q,
            cross_entropy=-log_q.gather(1, labels_N[:, None]).sum(),
            errors=(logits_NK.argmax(1) != labels_N).sum(),
        )

    def merge(self, other: Self) -> None:
        """Add what another meter of the same classes has seen."""
        self._add(**{name: value.to(self.sums[name].device) for name, value in other.sums.items()})

    def compute(self) -> Reading:
        """The reading so far. ValueError if there was no sample."""
        sums = {name: value.cpu() for name, value in self.sums.items()}
        counts, total = sums["samples"], float(sums["samples"].sum())
        if not total:
            raise ValueError("a meter that has seen no sample has no reading")
        centroids = sums["q"] / counts[:, None]  # NaN for an absent class
        spread = -torch.special.xlogy(centroids, centroids).sum(1) - sums["entropy"] / counts
        class_cmi = spread.clamp_min(0)  # below 0 by rounding alone
        cmi = float((class_cmi.nan_to_num(0) * counts).sum() / total)
        separation = float(separation_of_sums(sums["q"] / total, -sums["log_q"] / total))
        return Reading(
            samples=int(total),
            errors=int(sums["errors"]),
            cross_entropy=float(sums["cross_entropy"]) / total,
            cmi=cmi,
            separation=separation,
            ncmi=cmi / separation if separation else float("nan"),
            class_cmi=class_cmi.tolist(),
        )

    def _add(self, **more: Tensor) -> None:
        for name, value in more.items():
            self.sums[name] += value
