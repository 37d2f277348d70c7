r"""Conditional mutual information of inputs and predictions, the separation of classes, and their ratio.

Legend: N samples, K classes, labels y; q = softmax of a classifier's logits, given as log-probabilities (N,
K); Yh is drawn from q(. | X), so that Y - X - Yh is a Markov chain. Q_y = E[q | y] is the centroid of class
y. All in nats.

Yang et al., "Conditional mutual information constrained deep learning", TNNLS (separation and ratio as
recalled); Ye et al., "Bayes conditional distribution estimation for knowledge distillation", ICLR 2024
(centroids, direction of KL).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "centroids",
    "cmi",
    "divergence",
    "log_likelihood",
    "members",
    "ncmi",
    "prototype_bound",
    "separation",
    "separation_of_sums",
]


def members(labels_N: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Whose samples are whose (K, N): 1 where sample n is of class k, else 0."""
    return F.one_hot(labels_N, classes).to(dtype).T


def centroids(log_q_NS: Tensor, labels_N: Tensor, classes: int = 0) -> Tensor:
    """Q (K, S): row y is the mean prediction of the samples of class y; uniform for a class without samples.

    K is `classes`, or S where predictions are of the classes themselves.
    """
    members_KN = members(labels_N, classes or log_q_NS.shape[1], log_q_NS.dtype)
    counts_K = members_KN.sum(1, keepdim=True)
    means = members_KN @ log_q_NS.exp() / counts_K.clamp_min(1)
    return torch.where(counts_K > 0, means, torch.full_like(means, 1 / log_q_NS.shape[1]))


def divergence(log_q_NK: Tensor, centroid_NK: Tensor, floor: float = 0.0) -> Tensor:
    """KL(q || Q) of each sample (N,), Q clamped from below by `floor` and renormalised; 0 log 0 = 0."""
    if floor:
        centroid_NK = centroid_NK.clamp_min(floor)
        centroid_NK = centroid_NK / centroid_NK.sum(1, keepdim=True)
    q = log_q_NK.exp()
    return (torch.special.xlogy(q, q) - torch.special.xlogy(q, centroid_NK)).sum(1)


def cmi(log_q_NK: Tensor, labels_N: Tensor) -> Tensor:
    r"""I(X; Yh | Y) in nats, from the samples' own centroids and class frequencies; 0 <= it <= log K.

    .. math:: E\, KL(q(\cdot|X) \| Q_Y) = \sum_y \pi_y H(Q_y) - E\, H(q(\cdot|X))
    """
    return divergence(log_q_NK, centroids(log_q_NK, labels_N)[labels_N]).mean()


def separation(log_q_NK: Tensor, labels_N: Tensor) -> Tensor:
    r"""Gamma = E[1{Y != V} H(q_X, q_U)] over independent pairs (X, Y), (U, V): cross-entropies of other
    classes.

    In one pass, from class means: :math:`\sum_{y \ne v} \pi_y \pi_v\, Q_y \cdot \bar L_v`, with L = - log q.
    """
    members_KN = members(labels_N, log_q_NK.shape[1], log_q_NK.dtype) / len(labels_N)
    return separation_of_sums(members_KN @ log_q_NK.exp(), members_KN @ -log_q_NK)


def separation_of_sums(weighted_q_KK: Tensor, weighted_l_KK: Tensor) -> Tensor:
    """`separation` from the rows pi_y Q_y and pi_v L_v of the classes."""
    pairs = weighted_q_KK @ weighted_l_KK.T
    return pairs.sum() - pairs.diagonal().sum()


def ncmi(log_q_NK: Tensor, labels_N: Tensor) -> Tensor:
    """CMI over separation."""
    return cmi(log_q_NK, labels_N) / separation(log_q_NK, labels_N)


def log_likelihood(log_q_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Mean log q(y | x)."""
    return log_q_NK.gather(1, labels_N[:, None]).mean()


def prototype_bound(log_q_NK: Tensor, labels_N: Tensor) -> Tensor:
    """log K + mean log q(y | x): a lower bound of I(X; Y) for balanced classes and any q (Barber and Agakov
    2003)."""
    return math.log(log_q_NK.shape[1]) + log_likelihood(log_q_NK, labels_N)
