"""Laws of the distances: closed form, axioms, exact values, invariances."""

from __future__ import annotations

import math

import pytest
import torch

from distill_bench import mixtures
from distill_bench.mixtures import Distance, GaussianMixture
from tests.mixtures.support import angle, inner_product, joined, random_mixture, transformed

DISTANCES = {
    "angular": mixtures.angular,
    "chordal": mixtures.chordal,
    "l2": mixtures.l2,
    "nise": mixtures.nise,
    "cauchy_schwarz": mixtures.cauchy_schwarz,
    "tanimoto": mixtures.tanimoto,
}


def normal(mean: float, variance: float = 1.0) -> GaussianMixture:
    return GaussianMixture.of([1.0], [[mean]], [[[variance]]])


def test_inner_products_are_integrals_in_one_dimension() -> None:
    x = torch.linspace(-8, 12, 200_001, dtype=torch.float64)[:, None]
    for seed in range(5):
        f, g = random_mixture(seed, 4, 1), random_mixture(seed + 100, 3, 1)
        p, q = mixtures.log_density(f, x).exp(), mixtures.log_density(g, x).exp()
        ff, fg, gg = (torch.trapezoid(a * b, x[:, 0]) for a, b in ((p, p), (p, q), (q, q)))
        assert float(mixtures.log_inner_product(f, g).exp()) == pytest.approx(float(fg), abs=1e-6)
        assert angle(f, g) == pytest.approx(math.acos(fg / (ff * gg).sqrt()), abs=1e-6)
        assert float(mixtures.distance(f, g, mixtures.ise)) == pytest.approx(
            float(ff - 2 * fg + gg), abs=1e-6
        )


def test_inner_products_are_integrals_in_two_dimensions() -> None:
    axis = torch.linspace(-5, 8, 1301, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    f, g = random_mixture(0, 3, 2), random_mixture(1, 4, 2)
    product = (mixtures.log_density(f, points) + mixtures.log_density(g, points)).exp()
    integral = torch.trapezoid(torch.trapezoid(product.view(1301, 1301), axis), axis)
    assert float(mixtures.log_inner_product(f, g).exp()) == pytest.approx(float(integral), abs=1e-4)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 7, 16, 17, 20])
def test_inner_products_equal_the_sum_over_pairs(dimension: int) -> None:
    f, g = random_mixture(0, 5, dimension), random_mixture(1, 3, dimension)
    assert float(mixtures.log_inner_product(f, g)) == pytest.approx(math.log(inner_product(f, g)), abs=1e-10)


def test_products_in_blocks_equal_those_in_one_piece() -> None:
    f, g = (mixtures.Components.of(random_mixture(seed, 300, 2)) for seed in range(2))
    whole = mixtures.log_products(f, g)  # more than one block of rows
    parts = [mixtures.log_products(f.at(torch.tensor([k])), g) for k in (0, 113, 299)]
    torch.testing.assert_close(whole[[0, 113, 299]], torch.cat(parts), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_angle_is_a_metric(dimension: int) -> None:
    generator = torch.Generator().manual_seed(dimension)
    for _ in range(170):
        f, g, h = (mixtures.random(3, dimension, generator) for _ in range(3))
        fg, gh, fh = angle(f, g), angle(g, h), angle(f, h)
        assert fg == angle(g, f)
        assert angle(f, f) < 1e-6
        assert 0 < fg <= math.pi / 2
        assert fh - fg - gh <= 1e-9


TRIPLE = {
    "angular": (0.67804, 1.19407),
    "nise": (0.2212, 0.6321),
    "cauchy_schwarz": (0.25, 1.0),
    "tanimoto": (0.3623, 0.7746),
}


@pytest.mark.parametrize("name", TRIPLE)
def test_three_unit_normals_have_the_distances_computed_by_hand(name: str) -> None:
    f, g, h = normal(0), normal(1), normal(2)
    near, far = TRIPLE[name]
    assert float(mixtures.distance(f, g, DISTANCES[name])) == pytest.approx(near, abs=6e-5)
    assert float(mixtures.distance(g, h, DISTANCES[name])) == pytest.approx(near, abs=6e-5)
    assert float(mixtures.distance(f, h, DISTANCES[name])) == pytest.approx(far, abs=6e-5)


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("angular", True),
        ("chordal", True),
        ("l2", True),
        ("nise", False),
        ("cauchy_schwarz", False),
        ("tanimoto", False),
    ],
)
def test_the_triangle_inequality_holds_for_metrics_alone(name: str, holds: bool) -> None:
    def between(f: GaussianMixture, g: GaussianMixture) -> float:
        return float(mixtures.distance(f, g, DISTANCES[name]))

    f, g, h = normal(0), normal(1), normal(2)
    assert (between(f, h) <= between(f, g) + between(g, h)) is holds


def test_equal_covariances_have_the_closed_angle() -> None:
    f = random_mixture(5, 1, 3)
    shift = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    g = GaussianMixture(f.log_weights, f.means + shift, f.covariances)
    squared = float(shift @ torch.linalg.solve(f.covariances[0], shift))
    assert angle(f, g) == pytest.approx(math.acos(math.exp(-squared / 4)), abs=1e-12)


def test_equal_means_have_the_closed_angle() -> None:
    s1, s2 = 0.7, 1.9
    rho = math.sqrt(2 * s1 * s2 / (s1**2 + s2**2))
    assert angle(normal(0, s1**2), normal(0, s2**2)) == pytest.approx(math.acos(rho), abs=1e-12)


def _shuffled(f: GaussianMixture) -> GaussianMixture:
    return f.select(torch.randperm(len(f), generator=torch.Generator().manual_seed(0)))


def _split(f: GaussianMixture) -> GaussianMixture:
    half = GaussianMixture(f.log_weights - math.log(2), f.means, f.covariances)
    return joined(half, half)


def _scaled(f: GaussianMixture) -> GaussianMixture:
    return GaussianMixture(f.log_weights + 3, f.means, f.covariances)


@pytest.mark.parametrize(
    "change", [_shuffled, _split, _scaled], ids=["permuted", "split in halves", "scaled weights"]
)
def test_the_angle_does_not_depend_on_how_a_mixture_is_written(change: object) -> None:
    f, g = random_mixture(0), random_mixture(1)
    assert callable(change)
    assert angle(change(f), g) == pytest.approx(angle(f, g), abs=1e-10)


@pytest.mark.parametrize(
    ("metric", "free"), [(mixtures.angular, True), (mixtures.nise, True), (mixtures.l2, False)]
)
def test_only_the_shape_counts_for_the_angle_under_affine_maps(metric: Distance, free: bool) -> None:
    f, g = random_mixture(0, 6, 3), random_mixture(1, 4, 3)
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    b = torch.randn(3, dtype=torch.float64, generator=generator)
    before = float(mixtures.distance(f, g, metric))
    after = float(mixtures.distance(transformed(f, a, b), transformed(g, a, b), metric))
    assert (abs(after - before) < 1e-10) is free


def test_the_chord_belongs_to_the_angle() -> None:
    f, g = random_mixture(0), random_mixture(1)
    chord = float(mixtures.distance(f, g, mixtures.chordal))
    assert chord == pytest.approx(2 * math.sin(angle(f, g) / 2), abs=1e-14)


def test_l2_is_the_root_of_the_squared_error() -> None:
    f, g = random_mixture(0), random_mixture(1)
    squared = float(mixtures.distance(f, g, mixtures.ise))
    assert float(mixtures.distance(f, g, mixtures.l2)) ** 2 == pytest.approx(squared)


def test_mixtures_far_apart_are_at_a_right_angle() -> None:
    f = random_mixture(0)
    far = GaussianMixture(f.log_weights, f.means + 1000, f.covariances)
    assert angle(f, far) == pytest.approx(math.pi / 2, abs=1e-12)
    assert math.isfinite(float(mixtures.log_inner_product(f, far)))


def test_very_narrow_and_very_wide_mixtures_keep_their_angle() -> None:
    f, g = random_mixture(0, 4, 12), random_mixture(1, 4, 12)
    eye, zero = torch.eye(12, dtype=torch.float64), torch.zeros(12, dtype=torch.float64)
    for scale in (1e-30, 1e30):
        assert angle(transformed(f, scale * eye, zero), transformed(g, scale * eye, zero)) == pytest.approx(
            angle(f, g)
        )
