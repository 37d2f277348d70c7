"""The forward process: exact conversions, error identities, weights and schedules."""

from __future__ import annotations

import math

import pytest
import torch

from distill_bench.generative.process import (
    Prediction,
    betas,
    cosine,
    diffuse,
    min_snr_weight,
    predicted,
    shifted,
    target,
)

KINDS = list(Prediction)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_0, eps and alpha_bar of 64 samples at times whose alpha_bar is above 1e-4."""
    draws = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, 64, 3, 4, 4, generator=draws)
    alpha_bars = cosine()
    usable = (alpha_bars > 1e-4).nonzero().flatten()
    t = usable[torch.randint(len(usable), (64,), generator=draws)]
    return x0, noise, alpha_bars[t].view(-1, 1, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_network_predicts_gives_back_the_data_and_the_noise(kind: Prediction) -> None:
    x0, noise, alpha_bar = (part.double() for part in pair())
    x_t = diffuse(x0, noise, alpha_bar)
    x0h, eps = predicted(kind, target(kind, x0, noise, alpha_bar), x_t, alpha_bar)
    assert torch.allclose(x0h, x0, atol=1e-5)
    assert torch.allclose(eps, noise, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_x0h_and_eps_always_recompose_to_x_t(kind: Prediction) -> None:
    x0, noise, alpha_bar = (part.double() for part in pair())
    x_t = diffuse(x0, noise, alpha_bar)
    x0h, eps = predicted(kind, torch.randn_like(x0), x_t, alpha_bar)
    assert torch.allclose(diffuse(x0h, eps, alpha_bar), x_t, atol=1e-9)


def test_errors_of_v_and_eps_are_those_of_x0_times_the_signal_to_noise_ratio() -> None:
    x0, noise, alpha_bar = (part.double() for part in pair())
    x_t, snr = diffuse(x0, noise, alpha_bar), alpha_bar / (1 - alpha_bar)
    v = target(Prediction.v, x0, noise, alpha_bar)
    x0h, eps = predicted(Prediction.v, v + torch.randn_like(v), x_t, alpha_bar)
    wrong_v = target(Prediction.v, x0h, eps, alpha_bar) - v
    error = (x0h - x0).square()
    assert torch.allclose(wrong_v.square(), (snr + 1) * error, rtol=1e-5)
    assert torch.allclose((eps - noise).square(), snr * error, rtol=1e-5)


def test_min_snr_is_one_loss_on_x0_whatever_is_predicted() -> None:
    x0, noise, alpha_bar = (part.double() for part in pair())
    x_t, snr = diffuse(x0, noise, alpha_bar), alpha_bar / (1 - alpha_bar)
    x0h, eps = predicted(Prediction.v, torch.randn_like(x0), x_t, alpha_bar)
    wanted = snr.clamp_max(5) * (x0h - x0).square()
    v_error = (
        target(Prediction.v, x0h, eps, alpha_bar) - target(Prediction.v, x0, noise, alpha_bar)
    ).square()
    assert torch.allclose(min_snr_weight(Prediction.v, alpha_bar, 5) * v_error, wanted, rtol=1e-6)
    assert torch.allclose(
        min_snr_weight(Prediction.epsilon, alpha_bar, 5) * (eps - noise).square(), wanted, rtol=1e-6
    )


def test_betas_give_back_the_schedule() -> None:
    alpha_bars = cosine()
    assert torch.allclose(
        (1 - betas(alpha_bars).double()).cumprod(0).float(), alpha_bars, rtol=1e-4, atol=1e-9
    )


def test_a_larger_image_gets_more_noise_by_the_ratio_of_sides() -> None:
    alpha_bars = cosine()
    assert shifted(alpha_bars, 32) is alpha_bars
    more = shifted(alpha_bars, 64)
    assert (more[:-1] < alpha_bars[:-1]).all()
    ratio = (more / (1 - more)) / (alpha_bars / (1 - alpha_bars))
    assert torch.allclose(ratio[10:900], torch.full((890,), 0.25), rtol=1e-3)
    assert math.isclose(float(alpha_bars[-1]), 2.4e-9, rel_tol=0.05)
