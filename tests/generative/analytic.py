"""Priors whose denoiser is known exactly: what samplers and guides are tested against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_bench.generative.prior import Prior
from distill_bench.generative.process import Prediction, cosine

__all__ = ["gaussian_prior"]


class _Gaussian(nn.Module):
    """The noise that remains in x_t, in expectation, when x_0 ~ N(mean_y, variance)."""

    def __init__(self, means: Tensor, variance: float, alpha_bars: Tensor) -> None:
        super().__init__()
        self.means, self.variance, self.alpha_bars = means, variance, alpha_bars
        self.calls = 0
        self.register_parameter("unused", nn.Parameter(torch.zeros(())))

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """v at the posterior mean of x_0."""
        self.calls += len(x_t)
        ab = self.alpha_bars[t].to(x_t.dtype).view(-1, 1, 1, 1)
        mean = self.means.to(x_t.dtype)[labels].view(-1, 1, 1, 1)
        gain = ab.sqrt() * self.variance / (ab * self.variance + 1 - ab)
        x0h = mean + gain * (x_t - ab.sqrt() * mean)
        return ((x_t * ab.sqrt()) - x0h) / (1 - ab).sqrt()


def gaussian_prior(
    means: list[float],
    variance: float,
    shape: tuple[int, int, int] = (1, 1, 1),
    alpha_bars: Tensor | None = None,
) -> Prior:
    """Every element of class k is N(means[k], variance) on its own; the null class has the mean of means.

    A latent prior, so that nothing is clipped; its network counts its calls.
    """
    bars = cosine() if alpha_bars is None else alpha_bars
    with_null = torch.tensor([*means, sum(means) / len(means)], dtype=torch.float64)

    class Identity:
        """Latents that are pixels."""

        def encode(self, images: Tensor) -> Tensor:
            return images

        def decode(self, latents: Tensor) -> Tensor:
            return latents

    return Prior(
        network=_Gaussian(with_null, variance, bars),
        shape=shape,
        alpha_bars=bars,
        label_ids=torch.arange(len(means) + 1),
        prediction=Prediction.v,
        autoencoder=Identity(),
    )
