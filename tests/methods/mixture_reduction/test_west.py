"""West: figures of the classic mixture, and what its rule looks at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_bench import mixtures
from distill_bench.methods.mixture_reduction import west
from distill_bench.mixtures import GaussianMixture, LeastImportant
from tests.mixtures.support import angle, make_context


def test_the_classic_mixture_gives_the_known_figures(tmp_path: Path) -> None:
    product = west.run(make_context(tmp_path, target=5), west.Config())
    f, g = product.originals[0], product.reductions[0].mixture
    assert angle(f, g) == pytest.approx(0.19549, abs=6e-6)
    assert float(mixtures.distance(f, g, mixtures.ise)) == pytest.approx(0.01831, abs=6e-6)
    assert mixtures.kl_quadrature(f, g) == pytest.approx(0.0195, abs=6e-5)


def test_a_wide_component_goes_before_a_light_one() -> None:
    f = GaussianMixture.of([0.4, 0.3, 0.3], [[0.0], [5.0], [50.0]], [[[1.0]], [[0.1]], [[9.0]]])
    assert mixtures.reduce_greedily(f, 2, LeastImportant).merges == [(1, 2)]


def test_nearness_is_measured_by_the_covariance_of_the_least_important() -> None:
    narrow, wide = 0.01, 100.0
    covariances = [[[wide, 0.0], [0.0, narrow]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    f = GaussianMixture.of([0.02, 0.49, 0.49], [[0, 0], [9, 0], [0, 2]], covariances)
    assert mixtures.reduce_greedily(f, 2, LeastImportant).merges == [(0, 1)]


def test_a_run_keeps_the_moments_of_every_draw(run_cell: Callable[..., dict[str, Any]]) -> None:
    result = run_cell("method=west", "mixture=random", "profile=smoke")
    values = {measure["name"]: measure["values"] for measure in result["measures"]}
    assert max(values["mean_error"] + values["covariance_error"]) < 1e-12
