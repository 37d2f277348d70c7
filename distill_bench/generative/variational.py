"""The term of the variational bound that teaches a network its variance (Nichol and Dhariwal, ICML 2021).

Legend: B samples, t their times, ab_t (`alpha_bars`) the share of the signal in x_t's variance, ab_{-1} = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["discrete_log_likelihood", "variance_bound"]

EDGE = 0.999  # values beyond it count as the first and the last of 256 levels
LEAST = 1e-12  # probability, so that its logarithm is finite


def variance_bound(alpha_bars: Tensor, t: Tensor, x0: Tensor, x0h: Tensor, variance: Tensor) -> Tensor:
    r"""The term at times `t` (B,), in bits, mean over samples and elements: the mean's error moves the
    variance alone.

    .. math:: KL( q(x_{t-1} | x_t, x_0) \| N(\mu, \Sigma) ) \text{ for } t > 0, \quad
        -\log p(x_0 | x_1) \text{ for } t = 0, \quad
        \log \Sigma = f \log \beta_t + (1 - f) \log \tilde\beta_t, \quad f = (variance + 1) / 2

    At t = 0 the mean is x0h and the likelihood is that of pixels of 256 levels (also where latents are
    diffused, as in the code of DiT and of Minimax); beta~_0, which is 0, is that of t = 1. Gradients flow to
    `variance` (B, C, H, W) alone.
    """
    x0h = x0h.detach()
    now, before = alpha_bars[t].double(), alpha_bars[(t - 1).clamp_min(0)].double().masked_fill(t == 0, 1.0)
    beta = 1 - now / before
    weight = before.sqrt() * beta / (1 - now)
    first = _posterior(alpha_bars.double(), t.clamp_min(1))
    low, high = (value.log().float().view(-1, 1, 1, 1) for value in (first, beta))
    log_variance = torch.lerp(low.expand_as(variance), high.expand_as(variance), (variance + 1) / 2)
    error, ratio = (weight.float().view(-1, 1, 1, 1) * (x0 - x0h)).square(), low - log_variance
    divergence = 0.5 * (ratio.exp() - 1 - ratio + error * torch.exp(-log_variance))
    likelihood = discrete_log_likelihood(x0, x0h, 0.5 * log_variance)
    return torch.where((t == 0).view(-1, 1, 1, 1), -likelihood, divergence).mean() / math.log(2)


def discrete_log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    r"""log of the probability, in nats, that a normal value falls into the level of `x`, of 256 from -1 to 1.

    .. math:: \log \left( \Phi \Big( \frac{x + 1/255 - mean}{std} \Big) -
        \Phi \Big( \frac{x - 1/255 - mean}{std} \Big) \right)

    The first and the last level reach to infinity. Phi is approximated by a tanh, as in their code.
    """
    above, below = (_normal_cdf((x - mean + half) * torch.exp(-log_std)) for half in (1 / 255, -1 / 255))
    inside = torch.where(x > EDGE, 1 - below, above - below)
    return torch.where(x < -EDGE, above, inside).clamp_min(LEAST).log()


def _normal_cdf(x: Tensor) -> Tensor:
    """Phi(x), off by less than 2e-4 (Page 1977)."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _posterior(alpha_bars: Tensor, t: Tensor) -> Tensor:
    """beta~_t (B,) for t >= 1: the variance of q(x_{t-1} | x_t, x_0)."""
    now, before = alpha_bars[t], alpha_bars[t - 1]
    return (1 - now / before) * (1 - before) / (1 - now)
