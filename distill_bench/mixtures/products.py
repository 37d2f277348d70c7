"""Integrals of products of two Gaussians, for all pairs at once, in logs.

Inside this package components lie side by side: the component axis is the last one, so that the arithmetic of
a d x d matrix is d * d element-wise operations on long contiguous rows. Up to 16 dimensions a determinant and
a quadratic form are found by element-wise elimination (for d <= 2 this is the closed form): on one CPU core
about 30 nanoseconds a pair at d = 4, where stacked LAPACK calls take 150 to 200. Above, stacked Cholesky
factorisations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from distill_bench.mixtures.gaussian import GaussianMixture

__all__ = [
    "Components",
    "block_size",
    "log_determinant",
    "log_products",
    "log_products_paired",
    "log_self_products",
]

_ELEMENTWISE = 16  # dimensions up to which elimination is element-wise
_LOG_2PI = math.log(2 * math.pi)


class Components(NamedTuple):
    """Gaussians side by side: `log_weights` (n,), `means` (d, n), `covariances` (d, d, n)."""

    log_weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    @classmethod
    def of(cls, f: GaussianMixture) -> Components:
        """The components of a mixture, copied."""
        means, covariances = f.means.movedim(0, -1), f.covariances.movedim(0, -1)
        packed = (t.clone(memory_format=torch.contiguous_format) for t in (f.log_weights, means, covariances))
        return cls(*packed)

    def mixture(self) -> GaussianMixture:
        """The mixture of these components."""
        means, covariances = self.means.movedim(-1, 0), self.covariances.movedim(-1, 0)
        return GaussianMixture(self.log_weights.clone(), means.contiguous(), covariances.contiguous())

    def at(self, index: torch.Tensor | slice) -> Components:
        """The components at `index`."""
        return Components(*(values[..., index] for values in self))

    def put(self, index: torch.Tensor | slice, others: Components) -> None:
        """Write `others` to the places `index`."""
        for values, new in zip(self, others, strict=True):
            values[..., index] = new

    @property
    def size(self) -> int:
        """n."""
        return self.log_weights.shape[0]


def log_products(a: Components, b: Components) -> torch.Tensor:
    r"""All pairs of unweighted components: (A, B).

    .. math:: \log \langle N(\mu, S), N(m, P) \rangle = \log N(\mu - m; 0, S + P)
    """
    out = a.means.new_empty(a.size, b.size)
    chunk = block_size(out.device)
    for columns in _blocks(b.size, chunk):
        right = b.at(columns)
        for rows in _blocks(a.size, max(1, chunk // right.size)):
            left = a.at(rows)
            means = left.means[:, :, None], right.means[:, None, :]
            out[rows, columns] = _log_normal(
                *means, left.covariances[..., None], right.covariances[:, :, None]
            )
    return out


def log_products_paired(a: Components, b: Components) -> torch.Tensor:
    """The same for a[0] with b[0], a[1] with b[1], ...: (n,)."""
    out = torch.empty_like(a.log_weights)
    for rows in _blocks(a.size, block_size(out.device)):
        left, right = a.at(rows), b.at(rows)
        out[rows] = _log_normal(left.means, right.means, left.covariances, right.covariances)
    return out


def log_self_products(a: Components) -> torch.Tensor:
    r"""Log squared norms :math:`\log\|N(\mu,S)\|^2 = -\frac{d}{2}\log 4\pi - \frac12\log|S|`: (n,)."""
    return -0.5 * (log_determinant(a.covariances) + a.means.shape[0] * math.log(4 * math.pi))


def log_determinant(covariances: torch.Tensor) -> torch.Tensor:
    """log |S| of symmetric positive definite matrices (d, d, n): (n,)."""
    d = covariances.shape[0]
    if d > _ELEMENTWISE:
        factor = torch.linalg.cholesky(covariances.movedim(-1, 0))
        return 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    lower = [[covariances[i, j].clone() for j in range(i + 1)] for i in range(d)]
    return _eliminate(lower, [])[0]


def _log_normal(mu: torch.Tensor, m: torch.Tensor, s: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """log N(mu - m; 0, s + p) with `mu`, `m` (d, ...) and `s`, `p` (d, d, ...), all broadcasting: (...)."""
    d = mu.shape[0]
    if d <= _ELEMENTWISE:
        lower = [[s[i, j] + p[i, j] for j in range(i + 1)] for i in range(d)]
        log_det, square = _eliminate(lower, [mu[i] - m[i] for i in range(d)])
        return (square + log_det).mul_(-0.5).sub_(0.5 * d * _LOG_2PI)
    factor = torch.linalg.cholesky((s + p).movedim((0, 1), (-2, -1)))
    difference = (mu - m).movedim(0, -1).unsqueeze(-1)
    whitened = torch.linalg.solve_triangular(factor, difference, upper=False).squeeze(-1)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (whitened.square().sum(-1) + log_det + d * _LOG_2PI)


def _eliminate(lower: list[list[torch.Tensor]], y: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian elimination of T (its lower triangle, row by row), element by element: (log |T|, y' T^-1 y).

    Works in place. `y` may be empty. Logarithms are taken of four pivots at a time.
    """
    d = len(lower)
    log_det = square = torch.zeros((), dtype=lower[0][0].dtype, device=lower[0][0].device)
    product = None
    for j in range(d):
        pivot = lower[j][j]
        inverse = pivot.reciprocal()
        product = pivot if product is None else product * pivot
        if j % 4 == 3 or j == d - 1:
            log_det, product = log_det + product.log(), None
        if y:
            square = square + y[j].square().mul_(inverse)
        for i in range(j + 1, d):
            factor = lower[i][j] * inverse
            for k in range(j + 1, i + 1):
                lower[i][k].addcmul_(factor, lower[k][j], value=-1)
            if y:
                y[i].addcmul_(factor, y[j], value=-1)
    return log_det, square


def block_size(device: torch.device) -> int:
    """Pairs at a time: on a GPU what fills it; on the CPU what its cache holds, and half of what makes torch
    start its threads, which give little here and cost much on a busy machine (both measured)."""
    return 2**14 if device.type == "cpu" else 2**22


def _blocks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
