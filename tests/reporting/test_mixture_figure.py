"""The picture of a mixture and its reduction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_bench.reporting.mixture_figure import MixtureArrays, _densities, draw_mixture


def example(components: int, dimension: int, seed: int = 0) -> MixtureArrays:
    """A seeded random mixture."""
    random = np.random.default_rng(seed)
    factor = random.normal(size=(components, dimension, dimension + 2))
    covariances = factor @ factor.transpose(0, 2, 1) / dimension
    return random.dirichlet(np.ones(components)), random.normal(size=(components, dimension)), covariances


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_picture_shows_something_and_is_the_same_again(tmp_path: Path, dimension: int) -> None:
    for name in ("one.png", "two.png"):
        draw_mixture(tmp_path / name, example(6, dimension), example(1, dimension, seed=1))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_the_densities_drawn_integrate_to_the_weights() -> None:
    mixture = example(3, 1)
    x = np.linspace(-30, 30, 20_001)
    np.testing.assert_allclose(np.trapezoid(_densities(mixture, x[:, None]), x), mixture[0], atol=1e-6)
