"""The moment-preserving merge of two components."""

from __future__ import annotations

import torch

from distill_bench.mixtures.products import Components

__all__ = ["merge"]


def merge(a: Components, b: Components) -> Components:
    r"""a[0] merged with b[0], a[1] with b[1], ...: n components with the same weight, mean and covariance.

    .. math::
        w = w_i + w_j, \quad \alpha = w_i / w, \quad m = \alpha\mu_i + (1-\alpha)\mu_j, \quad
        P = \alpha S_i + (1-\alpha) S_j + \alpha(1-\alpha)(\mu_i-\mu_j)(\mu_i-\mu_j)'

    The rule is standard (e.g. Runnalls, IEEE TAES 2007).
    """
    share = torch.sigmoid(a.log_weights - b.log_weights)
    other = torch.sigmoid(b.log_weights - a.log_weights)
    apart = a.means - b.means
    spread = (share * other * apart)[:, None, :] * apart
    return Components(
        torch.logaddexp(a.log_weights, b.log_weights),
        share * a.means + other * b.means,
        share * a.covariances + other * b.covariances + (spread + spread.transpose(0, 1)) / 2,
    )
