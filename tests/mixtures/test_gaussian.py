"""The mixture itself: what is accepted, its density, moments and samples."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from distill_bench import mixtures
from distill_bench.errors import UserError
from distill_bench.mixtures import GaussianMixture
from tests.mixtures.support import random_mixture

EYE = torch.eye(2, dtype=torch.float64)
WRONG = {
    "a singular covariance": (
        [0.5, 0.5],
        [[0, 0], [1, 1]],
        [[[1, 0], [0, 1]], [[1, 1], [1, 1]]],
        r"covariances\[1\]",
    ),
    "an indefinite covariance": ([1.0], [[0, 0]], [[[1, 2], [2, 1]]], "positive definite"),
    "a covariance that is not symmetric": ([1.0], [[0, 0]], [[[1, 0.5], [0, 1]]], "symmetric"),
    "a weight of zero": (
        [1.0, 0.0],
        [[0, 0], [1, 1]],
        [[[1, 0], [0, 1]]] * 2,
        r"weights\[1\]=0.0: must be > 0",
    ),
    "a value that is not a number": ([1.0], [[0, float("nan")]], [[[1, 0], [0, 1]]], r"means\[0\].*finite"),
    "shapes that do not fit": (
        [1.0],
        [[0, 0], [1, 1]],
        [[[1, 0], [0, 1]]],
        r"\(N,\), \(N, d\) and \(N, d, d\)",
    ),
}


@pytest.mark.parametrize(("weights", "means", "covariances", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_mixture_is_refused_by_name(
    weights: list[float], means: list[list[float]], covariances: list[list[list[float]]], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        GaussianMixture.of(weights, means, covariances)
    assert "\n" not in str(caught.value)


def test_min_eig_raises_small_eigenvalues_and_leaves_the_others() -> None:
    f = GaussianMixture.of([1.0], [[0, 0]], [[[1, 1], [1, 1]]], min_eig=1e-3)
    torch.testing.assert_close(torch.linalg.eigvalsh(f.covariances[0]), torch.tensor([1e-3, 2.0]).double())


def test_a_covariance_of_very_different_units_is_accepted() -> None:
    assert len(GaussianMixture.of([1.0], [[0, 0]], [[[1e-10, 0], [0, 1e10]]])) == 1


def test_the_density_is_that_of_torch() -> None:
    f = random_mixture(0, components=5, dimension=3)
    points = 3 * torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    reference = MixtureSameFamily(Categorical(f.weights), MultivariateNormal(f.means, f.covariances))
    torch.testing.assert_close(mixtures.log_density(f, points), reference.log_prob(points))


def test_samples_have_the_moments_of_the_mixture() -> None:
    f = random_mixture(2, components=4, dimension=2)
    points = mixtures.sample(f, 200_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(points.mean(0), mixtures.overall_mean(f), atol=0.01, rtol=0)
    torch.testing.assert_close(points.mT.cov(), mixtures.overall_covariance(f), atol=0.02, rtol=0)


def test_the_random_sampler_follows_from_its_generator() -> None:
    one, same, other = random_mixture(3), random_mixture(3), random_mixture(4)
    assert torch.equal(one.covariances, same.covariances)
    assert not torch.equal(one.covariances, other.covariances)
    assert float(one.weights.sum()) == pytest.approx(1)


def test_the_classic_mixture_is_a_density_of_the_known_norm() -> None:
    f = mixtures.classic()
    assert float(f.weights.sum()) == pytest.approx(1)
    assert float(mixtures.log_inner_product(f, f).exp()) == pytest.approx(0.4852794, abs=5e-8)
