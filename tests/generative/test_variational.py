"""The term that teaches a variance: a divergence, and at the first time the likelihood of discrete pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distill_bench.generative.variational import discrete_log_likelihood, variance_bound
from tests.generative.analytic import gaussian_prior


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_variance_that_fits_has_the_least_divergence() -> None:
    bars = gaussian_prior([0.0], 1.0).alpha_bars
    x0, t = draw(64, 1, 2, 2), torch.full((64,), 400)
    exact = torch.full_like(x0, -1.0).requires_grad_()  # the posterior's variance
    at_posterior = variance_bound(bars, t, x0, x0, exact)
    assert float(at_posterior.detach()) == pytest.approx(0.0, abs=1e-6)
    above = variance_bound(bars, t, x0, x0, torch.full_like(x0, 1.0))
    assert float(above) > 0
    x0h = (x0 + 0.5).requires_grad_()
    variance_bound(bars, t, x0, x0h, exact).backward()
    assert x0h.grad is None
    assert exact.grad is not None and (exact.grad < 0).all()  # an error of the mean asks for more variance


@pytest.mark.parametrize("std", [0.003, 0.05, 1.0])
@pytest.mark.parametrize("mean", [-1.2, 0.1, 0.97])
def test_the_probabilities_of_all_levels_are_those_of_a_normal_law_and_sum_to_one(
    mean: float, std: float
) -> None:
    levels = torch.linspace(-1, 1, 256)
    logs = discrete_log_likelihood(
        levels, torch.full_like(levels, mean), torch.full_like(levels, math.log(std))
    )
    assert float(logs.exp().sum()) == pytest.approx(1, abs=1e-5)
    edges = torch.cat([torch.tensor([-torch.inf]), levels[:-1] + 1 / 255, torch.tensor([torch.inf])])
    exact = torch.special.ndtr((edges.double() - mean) / std).diff()
    assert float((logs.exp() - exact).abs().max()) < 4e-4  # twice the error of the tanh


def test_at_the_first_time_it_is_the_information_of_the_pixels() -> None:
    """By the definition, one element at a time: log2 of the probability of a level, with mean x0h."""
    bars = gaussian_prior([0.0], 1.0).alpha_bars
    x0 = (draw(3, 1, 2, 2).mul(60).round() * 2 + 1).clamp(-255, 255) / 255
    x0h, word = x0 + 0.003 * draw(3, 1, 2, 2, seed=1), draw(3, 1, 2, 2, seed=2).tanh()
    ab = [float(bar) for bar in bars[:2].double()]
    low = math.log((1 - ab[1] / ab[0]) * (1 - ab[0]) / (1 - ab[1]))
    high = math.log(1 - ab[0])
    bits = []
    for x, mean, said in zip(
        x0.flatten().tolist(), x0h.flatten().tolist(), word.flatten().tolist(), strict=True
    ):
        share = (said + 1) / 2
        std = math.exp(0.5 * (share * high + (1 - share) * low))
        above, below = (
            0.5 * math.erfc((mean - x - half) / std / math.sqrt(2)) for half in (1 / 255, -1 / 255)
        )
        bits.append(-math.log2(1 - below if x > 0.999 else above if x < -0.999 else above - below))
    found = variance_bound(bars, torch.zeros(3, dtype=torch.long), x0, x0h, word)
    assert float(found) == pytest.approx(sum(bits) / len(bits), rel=0.002)


def test_times_of_a_batch_do_not_see_each_other() -> None:
    bars = gaussian_prior([0.0], 1.0).alpha_bars
    x0, x0h, word = draw(4, 1, 2, 2), draw(4, 1, 2, 2, seed=1), draw(4, 1, 2, 2, seed=2)
    t = torch.tensor([0, 1, 500, 999])
    alone = [
        float(variance_bound(bars, t[i : i + 1], x0[i : i + 1], x0h[i : i + 1], word[i : i + 1]))
        for i in range(4)
    ]
    assert float(variance_bound(bars, t, x0, x0h, word)) == pytest.approx(sum(alone) / 4, rel=1e-5)


def test_gradients_reach_the_variance_alone_and_are_finite_at_every_time() -> None:
    bars = gaussian_prior([0.0], 1.0).alpha_bars
    t = torch.arange(0, 1000, 37)
    x0, x0h = draw(len(t), 1, 2, 2), draw(len(t), 1, 2, 2, seed=1).requires_grad_()
    word = draw(len(t), 1, 2, 2, seed=2).requires_grad_()
    variance_bound(bars, t, x0, x0h, word).backward()
    assert x0h.grad is None
    assert word.grad is not None and bool(word.grad.isfinite().all()) and bool((word.grad[1:] != 0).all())
    sure = torch.zeros(1, 1, 2, 2, requires_grad=True)
    variance_bound(bars, t[:1], x0[:1] * 0, x0[:1] * 0, sure).backward()
    assert sure.grad is not None and bool((sure.grad > 0).all())  # right pixels ask for less variance
