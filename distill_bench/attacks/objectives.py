"""What attacks on a classifier make large. Axes: ... leading ones (networks M, images B), K classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.groups import AttackLoss

__all__ = ["cross_entropy", "errs", "margin", "objective"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(z)_y, (...), of logits (..., K) and labels that broadcast to (...)."""
    labels = labels.expand(logits.shape[:-1])
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max over c != y of z_c, minus z_y, (...): above 0 where the network errs.

    The margin of Carlini and Wagner (arXiv 1608.04644, f_6 without its bound), with the sign of an attack.
    """
    own = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    others = logits.scatter(-1, own, -torch.inf)
    return others.amax(-1) - logits.gather(-1, own).squeeze(-1)


def objective(loss: AttackLoss, logits: Tensor, labels: Tensor) -> Tensor:
    """The one that a config names."""
    return (margin if loss is AttackLoss.margin else cross_entropy)(logits, labels)


def errs(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest logit is not the label's, (...) bool; logits that are not finite are an error."""
    return (logits.argmax(-1) != labels) | ~logits.sum(-1).isfinite()  # as all terms are, short of 1e38
