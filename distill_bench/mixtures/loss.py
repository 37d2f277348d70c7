r"""What refinement minimises, and its gradient in closed form.

For every metric that grows with the angle alone this is J(g) = -log rho, which does not depend on the scale
of g; for the L2 norm it is the integrated squared error over <f,f>.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from distill_bench.mixtures.gaussian import GaussianMixture
from distill_bench.mixtures.metric import log_inner_product

__all__ = ["Loss", "Problem", "cosine_loss", "squared_error"]

_UNFIT = 1e6  # the loss where it cannot be computed

# log (<f,g> / <f,f>), log (<g,g> / <f,f>) -> the value, and its derivatives by both
Loss = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def cosine_loss(fg: torch.Tensor, gg: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """-log rho = 1/2 log <g,g> - log <f,g> + 1/2 log <f,f>, >= 0."""
    return gg / 2 - fg, -torch.ones_like(fg), torch.full_like(gg, 0.5)


def squared_error(fg: torch.Tensor, gg: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ISE / <f,f> = 1 - 2 <f,g> / <f,f> + <g,g> / <f,f>, >= 0."""
    return 1 - 2 * fg.exp() + gg.exp(), -2 * fg.exp(), gg.exp()


class Problem:
    """Reduce `f` under `loss`. A reduced mixture g of L components is a flat vector of L (1 + d + d (d + 1) /
    2) free parameters: logits of the weights, means, and lower Cholesky factors with the logs of their
    diagonals."""

    def __init__(self, f: GaussianMixture, loss: Loss) -> None:
        self.f = f
        self.loss = loss
        self.log_ff = log_inner_product(f, f)
        rows, columns = torch.tril_indices(f.dimension, f.dimension)
        self._lower = (slice(None), rows, columns)
        self._diagonal = rows == columns

    def value(self, g: GaussianMixture) -> float:
        """The loss of `g`."""
        log_fg, log_gg = log_inner_product(self.f, g), log_inner_product(g, g)
        return float(self.loss(log_fg - self.log_ff, log_gg - self.log_ff)[0])

    def flatten(self, g: GaussianMixture) -> torch.Tensor:
        """The parameters of `g`."""
        lower = torch.linalg.cholesky(g.covariances)[self._lower]
        lower[:, self._diagonal] = lower[:, self._diagonal].log()
        return torch.cat([g.log_weights, g.means.flatten(), lower.flatten()])

    def unflatten(self, x: torch.Tensor) -> GaussianMixture:
        """The mixture of parameters `x`; its weights sum to 1."""
        log_v, m, factor = self._split(x)
        return GaussianMixture(log_v, m, factor @ factor.mT)

    def value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r"""The loss of the parameters `x`, and its gradient.

        For one term h = N(mu - m; 0, T), T = S + P and z = T^-1 (mu - m): dh/dm = h z, dh/dP = h/2 (z z' -
        T^-1). In <g,g> both arguments of a term move, which doubles its weight in the same formulas. With P =
        C C': dJ/dC = 2 (dJ/dP) C, lower part, times C_ii for a diagonal entry, which is stored as its log.

        Where a covariance of `x` is singular to working precision the loss is 1e6 and flat, so that a line
        search that reached out too far comes back.
        """
        log_v, m, factor = self._split(x)
        g = GaussianMixture(log_v, m, factor @ factor.mT)
        root, failed = torch.linalg.cholesky_ex(self._sums(g))
        if failed.any():
            return x.new_tensor(_UNFIT), torch.zeros_like(x)
        log_h, z, inverse = self._terms(g, root)
        with_f, with_g = log_h[: len(self.f)], log_h[len(self.f) :]
        log_fg, log_gg = with_f.logsumexp((0, 1)), with_g.logsumexp((0, 1))
        value, by_fg, by_gg = self.loss(log_fg - self.log_ff, log_gg - self.log_ff)
        share = torch.cat(
            [by_fg * (with_f - log_fg).exp(), 2 * by_gg * (with_g - log_gg).exp()]
        )  # (N + L, L)

        by_log_v = share.sum(0)
        by_m = torch.einsum("rl,rli->li", share, z)
        outer = torch.einsum("rl,rli,rlj->lij", share, z, z)
        by_covariance = 0.5 * (outer - torch.einsum("rl,rlij->lij", share, inverse))
        by_factor = (2 * by_covariance @ factor)[self._lower]
        by_factor[:, self._diagonal] *= factor.diagonal(dim1=1, dim2=2)
        by_logits = by_log_v - log_v.exp() * by_log_v.sum()
        return value, torch.cat([by_logits, by_m.flatten(), by_factor.flatten()])

    def _sums(self, g: GaussianMixture) -> torch.Tensor:
        """T = S + P of f's components, then g's, with g's: (N + L, L, d, d)."""
        return torch.cat([self.f.covariances, g.covariances])[:, None] + g.covariances

    def _terms(
        self, g: GaussianMixture, root: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logs of the weighted products (N + L, L), z and T^-1, from the Cholesky factors `root` of T."""
        difference = torch.cat([self.f.means, g.means])[:, None] - g.means
        z = torch.cholesky_solve(difference[..., None], root).squeeze(-1)
        log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_h = -0.5 * ((difference * z).sum(-1) + log_det + g.dimension * math.log(2 * math.pi))
        weights = torch.cat([self.f.log_weights, g.log_weights])[:, None] + g.log_weights
        return log_h + weights, z, torch.cholesky_inverse(root)

    def _split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(log weights (L,), means (L, d), Cholesky factors (L, d, d)) of `x`."""
        d = self.f.dimension
        size = len(x) // (1 + d + d * (d + 1) // 2)
        logits, means, lower = x.split([size, size * d, size * d * (d + 1) // 2])
        entries = lower.view(size, -1)
        entries = torch.where(self._diagonal, entries.exp(), entries)
        factor = torch.zeros(size, d, d, dtype=x.dtype)
        factor[self._lower] = entries
        return logits.log_softmax(0), means.view(size, d), factor
