"""The best weights for fixed components: a projection on the cone that they span, found without local
minima."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls

from distill_bench.mixtures.gaussian import GaussianMixture
from distill_bench.mixtures.products import Components, log_products

__all__ = ["best_weights", "best_weights_l2", "cone_projection"]

_STEPS = 100  # of the active-set method, for each component


def cone_projection(h: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    r"""The minimiser of :math:`\tfrac12 v'Hv - b'v` over v >= 0: (L,).

    H (L, L) is symmetric positive semi-definite and b (L,) in its range. Solved as a non-negative
    least-squares problem on a root of H, so that a nearly singular H (components that almost coincide) does
    no harm.
    """
    root, target = _root(h)
    return torch.from_numpy(nnls(root, target @ b.numpy(), maxiter=_STEPS * len(b))[0])


def best_weights(f: GaussianMixture, g: GaussianMixture) -> GaussianMixture:
    """g with the weights that minimise the angle to f; components whose weight is 0 are dropped.

    The angle does not depend on the scale of v, so the projection of f on the cone that g's components span
    is the exact minimiser over v >= 0. The same idea with a quadratic programme re-weights COWA's result
    (Chen, Chang and Smith, 2010), there without the sign.
    """
    h, b, log_scale = _gram(f, g)
    return _reweighted(g, cone_projection(h, b).log() - log_scale)


def best_weights_l2(f: GaussianMixture, g: GaussianMixture) -> GaussianMixture:
    """g with the weights, summing to 1, that minimise the integrated squared error; those that are 0 are
    dropped.

    With K the Gram matrix of the differences g_l - f the error is v'Kv, and min v'Kv over v >= 0, 1'v = 1 has
    the direction of the minimiser of v'Kv + s (1 - 1'v)^2 over v >= 0, for any s > 0.
    """
    a, c = Components.of(f), Components.of(g)
    log_ff = (log_products(a, a) + f.log_weights[:, None] + f.log_weights).flatten().logsumexp(0)
    b = f.weights @ (log_products(a, c) - log_ff).exp()
    k = (log_products(c, c) - log_ff).exp() - b[:, None] - b + 1
    root = _root(k)[0]
    system = np.vstack([root, np.ones(len(b))])
    target = np.zeros(len(system))
    target[-1] = 1.0
    return _reweighted(g, torch.from_numpy(nnls(system, target, maxiter=_STEPS * len(b))[0]).log())


def _gram(f: GaussianMixture, g: GaussianMixture) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """H and b for g's components scaled to norm 1 (and f to norm 1 up to a factor), and their log norms
    (L,)."""
    a, c = Components.of(f), Components.of(g)
    log_h = log_products(c, c)
    log_norm = log_h.diagonal() / 2
    log_b = (log_products(a, c) + f.log_weights[:, None]).logsumexp(0) - log_norm
    return (log_h - log_norm[:, None] - log_norm).exp(), (log_b - log_b.max()).exp(), log_norm


def _root(h: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """R and R^-T (pseudo-inverse) with R'R = H, by eigenvectors."""
    values, vectors = torch.linalg.eigh(h)
    support = values > values[-1] * len(values) * torch.finfo(h.dtype).eps
    root = values[support].sqrt()[:, None] * vectors[:, support].mT
    return root.numpy(), (vectors[:, support] / values[support].sqrt()).mT.numpy()


def _reweighted(g: GaussianMixture, log_v: torch.Tensor) -> GaussianMixture:
    support = log_v > -torch.inf
    return GaussianMixture(log_v, g.means, g.covariances).select(support).normalised()
