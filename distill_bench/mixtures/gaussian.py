"""Gaussian mixtures: the density, its moments, and samples. Everything is float64 and weights are kept as
logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distill_bench.errors import UserError, require

__all__ = ["GaussianMixture", "log_density", "overall_covariance", "overall_mean", "sample"]

# A pivot of the Cholesky factorisation below this part of its variance is rounding, not data.
_SMALLEST_PIVOT = 1e-14


@dataclass(frozen=True)
class GaussianMixture:
    r"""N Gaussians in d dimensions.

    .. math:: f(x) = \sum_{a=1}^N w_a \, N(x; \mu_a, S_a)

    `log_weights` (N,), `means` (N, d) and `covariances` (N, d, d) are float64 on one device. The weights of a
    density sum to 1; any positive total is allowed. Made unchecked; for data from outside use `of`.
    """

    log_weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    @classmethod
    def of(
        cls,
        weights: torch.Tensor | Sequence[float],
        means: torch.Tensor | Sequence[Sequence[float]],
        covariances: torch.Tensor | Sequence[Sequence[Sequence[float]]],
        *,
        min_eig: float = 0.0,
    ) -> GaussianMixture:
        """A checked mixture. Eigenvalues of the covariances below `min_eig` are raised to it (0: none).

        Raises UserError, naming the first wrong component, for shapes that do not fit, values that are not
        finite, weights that are not positive, and covariances that are not symmetric positive definite.
        """
        w, m, s = (torch.as_tensor(values, dtype=torch.float64) for values in (weights, means, covariances))
        _check_shapes(w, m, s)
        _check_each(w > 0, "mixture.weights", w, "> 0")
        largest = s.abs().amax(dim=(1, 2), keepdim=True)
        symmetric = ((s - s.mT).abs() <= 1e-9 * largest).all(dim=2).all(dim=1)
        _check_each(symmetric, "mixture.covariances", s, "symmetric")
        s = (s + s.mT) / 2
        if min_eig > 0:
            values, vectors = torch.linalg.eigh(s)
            s = vectors * values.clamp_min(min_eig)[:, None, :] @ vectors.mT
        factor, failed = torch.linalg.cholesky_ex(s)
        pivots, variances = factor.diagonal(dim1=1, dim2=2) ** 2, s.diagonal(dim1=1, dim2=2)
        definite = (failed == 0) & (pivots > _SMALLEST_PIVOT * variances).all(dim=1)
        _check_each(
            definite, "mixture.covariances", s, "positive definite (min_eig raises small eigenvalues)"
        )
        return cls(w.log(), m, s)

    def __len__(self) -> int:
        return self.log_weights.shape[0]

    @property
    def dimension(self) -> int:
        """d."""
        return self.means.shape[1]

    @property
    def weights(self) -> torch.Tensor:
        """w, (N,)."""
        return self.log_weights.exp()

    def normalised(self) -> GaussianMixture:
        """The same shape with weights that sum to 1."""
        return GaussianMixture(self.log_weights.log_softmax(0), self.means, self.covariances)

    def select(self, index: torch.Tensor | slice) -> GaussianMixture:
        """The components at `index`, with their weights as they are."""
        return GaussianMixture(self.log_weights[index], self.means[index], self.covariances[index])

    def to(self, device: torch.device | str) -> GaussianMixture:
        """The same mixture on `device`."""
        return GaussianMixture(
            self.log_weights.to(device), self.means.to(device), self.covariances.to(device)
        )


def _check_shapes(w: torch.Tensor, m: torch.Tensor, s: torch.Tensor) -> None:
    fits = w.ndim == 1 and m.ndim == 2 and len(w) == len(m) > 0 and s.shape == (*m.shape, m.shape[1])
    shapes = tuple(tuple(t.shape) for t in (w, m, s))
    require(fits, "mixture.(weights, means, covariances)", f"shapes {shapes}", "(N,), (N, d) and (N, d, d)")
    for name, values in (("weights", w), ("means", m), ("covariances", s)):
        _check_each(
            values.isfinite().flatten(1 if values.ndim > 1 else 0).reshape(len(w), -1).all(1),
            f"mixture.{name}",
            values,
            "finite",
        )


def _check_each(fine: torch.Tensor, key: str, values: torch.Tensor, allowed: str) -> None:
    """UserError about the first component that is not `fine` (N,)."""
    if not fine.all():
        first = int((~fine).nonzero()[0])
        raise UserError(f"{key}[{first}]={values[first].tolist()}: must be {allowed}")


def overall_mean(f: GaussianMixture) -> torch.Tensor:
    """The mean of the whole mixture, (d,)."""
    return f.log_weights.softmax(0) @ f.means


def overall_covariance(f: GaussianMixture) -> torch.Tensor:
    """The covariance of the whole mixture, (d, d): the mean covariance plus the covariance of the means."""
    w = f.log_weights.softmax(0)
    centred = f.means - overall_mean(f)
    return torch.einsum("n,nij->ij", w, f.covariances) + torch.einsum("n,ni,nj->ij", w, centred, centred)


def log_density(f: GaussianMixture, points: torch.Tensor) -> torch.Tensor:
    """log f(x) at `points` (B, d): (B,), by logsumexp over the components."""
    factor = torch.linalg.cholesky(f.covariances)
    difference = points.mT - f.means[:, :, None]  # (N, d, B)
    whitened = torch.linalg.solve_triangular(factor, difference, upper=False)
    half_log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = f.log_weights - half_log_det - 0.5 * f.dimension * math.log(2 * math.pi)
    return torch.logsumexp(constant[:, None] - 0.5 * (whitened**2).sum(1), dim=0)


def sample(f: GaussianMixture, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` independent points of f / (total weight), (count, d), on the generator's device."""
    f = f.to(generator.device)
    component = torch.multinomial(f.log_weights.softmax(0), count, replacement=True, generator=generator)
    noise = torch.randn(count, f.dimension, dtype=torch.float64, device=generator.device, generator=generator)
    factor = torch.linalg.cholesky(f.covariances)
    return f.means[component] + torch.einsum("bij,bj->bi", factor[component], noise)
