r"""Distances between Gaussian mixtures that follow from three inner products of L2(R^d).

.. math:: \langle f, g\rangle = \int f g = w' H v, \quad H_{al} = N(\mu_a - m_l; 0, S_a + P_l), \quad
    \rho = \frac{\langle f, g\rangle}{\|f\| \|g\|} \in [0, 1]

Which metric the paper defines could not be established from its abstract (a distance between two densities,
closed form for Gaussian mixtures, all axioms of a metric, Hilbert-space setting). The angle is our choice: it
fulfils every sentence of the abstract.

Why the angle D = arccos(rho) is a metric on densities: symmetry and D >= 0 are plain. D = 0 means equality in
Cauchy-Schwarz, so f = c g with c > 0, and both integrate to 1, so f = g (on unnormalised functions D is a
pseudo-metric). Triangle: with unit vectors f, g, h, alpha = D(f, g) and beta = D(g, h), write f = cos(alpha)
g + sin(alpha) p and h = cos(beta) g + sin(beta) q with unit p, q orthogonal to g; then <f, h> >= cos(alpha)
cos(beta) - sin(alpha) sin(beta) = cos(alpha + beta), and arccos decreases. D does not change under a common
invertible affine map of the space, nor when a function is scaled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from distill_bench.mixtures.gaussian import GaussianMixture
from distill_bench.mixtures.products import Components, log_products

__all__ = [
    "Distance",
    "angular",
    "cauchy_schwarz",
    "chordal",
    "distance",
    "ise",
    "l2",
    "log_inner_product",
    "nise",
    "tanimoto",
]

# log <f,f>, log <f,g>, log <g,g> (broadcasting) -> the distance, element by element
Distance = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def log_inner_product(f: GaussianMixture, g: GaussianMixture) -> torch.Tensor:
    """log <f, g>, a scalar: logsumexp over all pairs of components, in order of size so that it is symmetric
    to the last bit."""
    pairs = log_products(Components.of(f), Components.of(g)) + (f.log_weights[:, None] + g.log_weights)
    return pairs.flatten().sort().values.logsumexp(0)


def distance(f: GaussianMixture, g: GaussianMixture, metric: Distance) -> torch.Tensor:
    """`metric` between two mixtures, a scalar."""
    return metric(log_inner_product(f, f), log_inner_product(f, g), log_inner_product(g, g))


def angular(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """The angle arccos(rho), a metric, in [0, pi/2]; of the log inner products.

    Computed as 2 arcsin(chord / 2), which is exact at 0 where arccos is not; inner products rounded to 16
    digits leave an error of about 1e-8 there.
    """
    return 2 * torch.asin((chordal(ff, fg, gg) / 2).clamp_max(0.5**0.5))


def chordal(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """sqrt(2 - 2 rho) = 2 sin(angle / 2), a metric, in [0, sqrt(2)]."""
    return (-2 * torch.expm1(-cauchy_schwarz(ff, fg, gg))).clamp_min(0).sqrt()


def cauchy_schwarz(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """-log rho >= 0, the Cauchy-Schwarz divergence; not a metric."""
    return ((ff + gg) / 2 - fg).clamp_min(0)


def ise(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """The integrated squared error <f,f> - 2 <f,g> + <g,g>; not a metric (its root is)."""
    return (ff.exp() - 2 * fg.exp() + gg.exp()).clamp_min(0)


def l2(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """sqrt(ISE), a metric; it changes with the unit of the space."""
    return ise(ff, fg, gg).sqrt()


def nise(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """ISE / (<f,f> + <g,g>), in [0, 1]; not a metric."""
    return (-torch.expm1(fg + _LOG_2 - torch.logaddexp(ff, gg))).clamp(0, 1)


def tanimoto(ff: torch.Tensor, fg: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """1 - <f,g> / (<f,f> + <g,g> - <f,g>), in [0, 1]; not a metric."""
    ratio = (fg - torch.logaddexp(ff, gg)).exp()
    return (1 - ratio / (1 - ratio)).clamp(0, 1)


_LOG_2 = 0.6931471805599453
