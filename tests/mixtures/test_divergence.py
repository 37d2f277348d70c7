"""The Kullback-Leibler divergence against closed forms and against itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from distill_bench import mixtures
from distill_bench.mixtures import GaussianMixture
from tests.mixtures.support import random_mixture


def test_quadrature_of_two_normals_is_exact() -> None:
    f, g = (GaussianMixture.of([1.0], [[m]], [[[s**2]]]) for m, s in ((0.0, 0.5), (1.0, 2.0)))
    exact = math.log(2.0 / 0.5) + (0.25 + 1.0) / 8 - 0.5
    assert mixtures.kl_quadrature(f, g) == pytest.approx(exact, abs=1e-12)


def test_quadrature_resolves_components_of_very_different_width() -> None:
    f = GaussianMixture.of([0.5, 0.5], [[0.0], [100.0]], [[[1e-8]], [[1e4]]])
    assert mixtures.kl_quadrature(f, f) == 0
    whole = GaussianMixture.of([1.0], [[0.0]], [[[1e4]]])
    x = mixtures.sample(f, 400_000, torch.Generator().manual_seed(0))
    sampled = float((mixtures.log_density(f, x) - mixtures.log_density(whole, x)).mean())
    assert mixtures.kl_quadrature(f, whole) == pytest.approx(sampled, abs=0.05)


def test_quadrature_is_for_one_dimension() -> None:
    with pytest.raises(ValueError, match="one dimension"):
        mixtures.kl_quadrature(random_mixture(0), random_mixture(1))


def test_samples_agree_with_the_closed_form_of_two_normals() -> None:
    f, g = random_mixture(0, 1, 3), random_mixture(1, 1, 3)
    exact = kl_divergence(*(MultivariateNormal(h.means[0], h.covariances[0]) for h in (f, g)))
    sampled = mixtures.kl_monte_carlo(f, g, torch.Generator().manual_seed(0), points=200_000)
    assert sampled == pytest.approx(float(exact), rel=0.02)


def test_samples_agree_with_quadrature() -> None:
    f, g = random_mixture(2, 5, 1), random_mixture(3, 3, 1)
    sampled = mixtures.kl_monte_carlo(f, g, torch.Generator().manual_seed(0), points=200_000)
    assert sampled == pytest.approx(mixtures.kl_quadrature(f, g), rel=0.05)


def test_the_divergence_of_a_mixture_from_itself_is_zero() -> None:
    f = random_mixture(4)
    assert mixtures.kl_monte_carlo(f, f, torch.Generator().manual_seed(0), points=1000) == 0
