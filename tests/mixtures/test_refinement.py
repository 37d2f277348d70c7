"""Laws of the weight step, of the gradient, and of refinement as a whole."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from distill_bench import mixtures
from distill_bench.mixtures import ANGLE, SQUARED_ERROR, GaussianMixture, Objective
from distill_bench.mixtures.loss import Problem
from tests.mixtures.support import angle, inner_product, joined, random_mixture, transformed

OBJECTIVES = {"angle": ANGLE, "squared error": SQUARED_ERROR}
METRICS = {"angle": mixtures.angular, "squared error": mixtures.ise}
both = pytest.mark.parametrize("name", OBJECTIVES)
GREEDY = partial(mixtures.NearestToOriginal, metric=mixtures.angular)


def small_problem(seed: int, dimension: int = 2, target: int = 3) -> tuple[GaussianMixture, GaussianMixture]:
    """A mixture and its greedy reduction."""
    f = random_mixture(seed, 8, dimension)
    return f, mixtures.reduce_greedily(f, target, GREEDY).mixture


def gram(f: GaussianMixture, g: GaussianMixture) -> tuple[torch.Tensor, torch.Tensor]:
    """H and b of the weight step, one pair after another."""
    single = [
        GaussianMixture(torch.zeros(1).double(), g.means[k : k + 1], g.covariances[k : k + 1])
        for k in range(len(g))
    ]
    h = torch.tensor([[inner_product(a, b) for b in single] for a in single], dtype=torch.float64)
    return h, torch.tensor([inner_product(f, a) for a in single], dtype=torch.float64)


def overlapping() -> tuple[GaussianMixture, GaussianMixture]:
    """A narrow density, and wide components whose unconstrained best weights are negative."""
    f = GaussianMixture.of([1.0], [[0.0]], [[[0.2]]])
    return f, GaussianMixture.of([0.3, 0.4, 0.3], [[0.0], [0.4], [2.0]], [[[1.0]]] * 3)


@pytest.mark.parametrize("case", ["greedy", "negative"])
def test_the_weight_step_fulfils_the_optimality_conditions(case: str) -> None:
    f, g = small_problem(0) if case == "greedy" else overlapping()
    h, b = gram(f, g)
    v = mixtures.cone_projection(h, b)
    slope = h @ v - b
    assert bool((v >= 0).all())
    assert bool((slope >= -1e-10).all())
    assert float(v @ slope) == pytest.approx(0, abs=1e-10)


def test_weights_that_would_be_negative_are_dropped() -> None:
    f, g = overlapping()
    h, b = gram(f, g)
    assert float(torch.linalg.solve(h, b).min()) < 0
    best = mixtures.best_weights(f, g)
    assert len(best) < len(g)
    assert float(best.weights.min()) > 0
    assert float(best.weights.sum()) == pytest.approx(1)
    assert angle(f, best) < angle(f, g)


@both
def test_no_other_weights_are_nearer(name: str) -> None:
    f, g = small_problem(1, target=4)
    best = OBJECTIVES[name].best_weights(f, g)
    nearest = float(mixtures.distance(f, best, METRICS[name]))
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 1e-1, 1.0):
        for _ in range(20):
            noise = size * torch.randn(len(best), dtype=torch.float64, generator=generator)
            other = GaussianMixture(best.log_weights + noise, best.means, best.covariances).normalised()
            assert float(mixtures.distance(f, other, METRICS[name])) >= nearest - 1e-14


@both
def test_the_weight_step_never_goes_away_from_the_original(name: str) -> None:
    for seed in range(10):
        f, g = small_problem(seed, dimension=1 + seed % 3)
        better = mixtures.refine_weights(f, g, OBJECTIVES[name])
        metric = METRICS[name]
        assert float(mixtures.distance(f, better, metric)) <= float(mixtures.distance(f, g, metric))


def test_the_weight_step_copes_with_components_that_coincide() -> None:
    f, g = small_problem(2)
    assert angle(f, mixtures.best_weights(f, joined(g, g))) == pytest.approx(
        angle(f, mixtures.best_weights(f, g))
    )


@both
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_gradient_equals_central_differences(name: str, dimension: int) -> None:
    f, g = small_problem(3, dimension)
    problem = Problem(f, OBJECTIVES[name].loss)
    generator = torch.Generator().manual_seed(0)
    x = problem.flatten(g)
    x = x + 0.1 * torch.randn(x.shape, dtype=x.dtype, generator=generator)
    gradient = problem.value_and_gradient(x)[1]
    step = 1e-5
    for k in range(len(x)):
        ahead, behind = x.clone(), x.clone()
        ahead[k] += step
        behind[k] -= step
        difference = (problem.value_and_gradient(ahead)[0] - problem.value_and_gradient(behind)[0]) / (
            2 * step
        )
        assert float(gradient[k]) == pytest.approx(float(difference), rel=1e-6, abs=1e-9)


@both
def test_the_flat_loss_is_the_loss_of_the_mixture(name: str) -> None:
    f, g = small_problem(4, 3)
    problem = Problem(f, OBJECTIVES[name].loss)
    x = problem.flatten(g)
    assert float(problem.value_and_gradient(x)[0]) == pytest.approx(problem.value(g), abs=1e-13)
    again = problem.unflatten(x)
    torch.testing.assert_close(again.covariances, g.covariances)
    torch.testing.assert_close(again.weights, g.weights)


def test_a_covariance_that_collapsed_is_a_large_loss_and_no_error() -> None:
    f, g = small_problem(5, 3)
    problem = Problem(f, ANGLE.loss)
    x = problem.flatten(g)
    x[-6:] = torch.tensor([0.0, 0.0, -1000.0, 0.0, 0.0, -1000.0])
    value, gradient = problem.value_and_gradient(x)
    assert float(value) == 1e6
    assert not gradient.any()


@both
@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_refinement_comes_nearer(name: str, dimension: int) -> None:
    for seed in range(3):
        f, g = small_problem(seed, dimension)
        better = mixtures.refine(f, g, OBJECTIVES[name])
        assert float(mixtures.distance(f, better, METRICS[name])) < float(
            mixtures.distance(f, g, METRICS[name])
        )
        assert float(better.weights.sum()) == pytest.approx(1)
        GaussianMixture.of(better.weights, better.means, better.covariances)


def test_refinement_without_steps_still_finds_the_weights() -> None:
    f, g = small_problem(6)
    better = mixtures.refine(f, g, ANGLE, iterations=0)
    assert angle(f, better) == pytest.approx(angle(f, mixtures.best_weights(f, g)), abs=1e-12)


def test_refinement_does_not_depend_on_the_units_of_the_space() -> None:
    f, g = small_problem(7, 2)
    a = torch.tensor([[1e3, 2e2], [0.0, 1e-3]], dtype=torch.float64)
    b = torch.tensor([5e4, -1.0], dtype=torch.float64)
    there = mixtures.refine(transformed(f, a, b), transformed(g, a, b))
    assert angle(transformed(f, a, b), there) == pytest.approx(angle(f, mixtures.refine(f, g)), rel=1e-4)


def test_a_perfect_start_is_left_alone() -> None:
    f = random_mixture(8, 4, 2)
    assert angle(f, mixtures.refine(f, f)) < 1e-6


def test_a_step_that_goes_away_is_not_taken() -> None:
    f, g = small_problem(9)
    spoiled = Objective(ANGLE.loss, lambda _, h: GaussianMixture(h.log_weights, h.means + 5, h.covariances))
    assert angle(f, mixtures.refine(f, g, spoiled, iterations=0)) == pytest.approx(angle(f, g), abs=1e-12)
    torch.testing.assert_close(mixtures.refine_weights(f, g, spoiled).means, g.means)
