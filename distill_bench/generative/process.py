"""The forward process of a diffusion model, and the exact conversions between what a network may predict.

Legend: x_0 data, eps standard normal noise, a = sqrt(ab_t), s = sqrt(1 - ab_t), with ab_t (`alpha_bars`) the
product of 1 - beta up to step t of T = 1000. All in float32.
"""

from __future__ import annotations

import math
from enum import Enum

import torch
from diffusers import DDPMScheduler
from torch import Tensor

__all__ = [
    "STEPS",
    "Prediction",
    "betas",
    "cosine",
    "diffuse",
    "min_snr_weight",
    "predicted",
    "shifted",
    "target",
]

STEPS = 1000


class Prediction(Enum):
    """What a denoising network predicts."""

    epsilon = "epsilon"  # the noise
    v = "v"  # a eps - s x_0 (Salimans and Ho 2022)


def cosine() -> Tensor:
    """`alpha_bars` (1000,) of the cosine schedule (Nichol and Dhariwal 2021); the last is 2.4e-9."""
    return DDPMScheduler(STEPS, beta_schedule="squaredcos_cap_v2").alphas_cumprod.clone()


def shifted(alpha_bars: Tensor, resolution: int, base: int = 32) -> Tensor:
    r"""The schedule for larger images: :math:`\log SNR \leftarrow \log SNR + 2 \log(base / resolution)`.

    Hoogeboom et al., simple diffusion, 2023 (recalled): pixels of larger images are more alike, so the same
    noise hides less of them. Unchanged at or below `base`.
    """
    if resolution <= base:
        return alpha_bars
    exact = alpha_bars.double()
    log_snr = exact.log() - (-exact).log1p() + 2 * math.log(base / resolution)
    return log_snr.sigmoid().float()


def betas(alpha_bars: Tensor) -> Tensor:
    """The variances that give `alpha_bars`: 1 - ab_t / ab_{t-1}."""
    before = torch.cat([alpha_bars.new_ones(1), alpha_bars[:-1]]).double()
    return (1 - alpha_bars.double() / before).float()


def diffuse(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t = a x_0 + s eps; `alpha_bar` broadcasts, as (B, 1, 1, 1)."""
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def target(kind: Prediction, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """What a network of this kind should predict."""
    if kind is Prediction.epsilon:
        return noise
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0


def predicted(kind: Prediction, output: Tensor, x_t: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """(x0h, eps) that a network's `output` at `x_t` stands for; x_t = a x0h + s eps holds exactly."""
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if kind is Prediction.epsilon:
        return (x_t - s * output) / a, output
    return a * x_t - s * output, a * output + s * x_t


def min_snr_weight(kind: Prediction, alpha_bar: Tensor, gamma: float) -> Tensor:
    r"""The weight of Min-SNR (Hang et al., ICCV 2023), with SNR = ab / (1 - ab).

    .. math:: \min(SNR, \gamma) / SNR \text{ for eps}, \quad \min(SNR, \gamma) / (SNR + 1) \text{ for v}

    Both are min(SNR, gamma) times the squared error of x0h.
    """
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp_max(gamma) / (snr if kind is Prediction.epsilon else snr + 1)
