"""Runnalls: figures of the classic mixture, and what its bound promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench import mixtures
from distill_bench.methods.mixture_reduction import runnalls
from tests.mixtures.support import angle, make_context, merged, pairs_of

CLASSIC = {5: (0.23578, 0.02663, 0.0284), 4: (0.26388, 0.03322, 0.0266), 3: (0.31795, 0.04785, 0.0629)}


@pytest.mark.parametrize("target", CLASSIC)
def test_the_classic_mixture_gives_the_known_figures(tmp_path: Path, target: int) -> None:
    product = runnalls.run(make_context(tmp_path, target=target), runnalls.Config())
    f, g = product.originals[0], product.reductions[0].mixture
    distance, ise, kl = CLASSIC[target]
    assert angle(f, g) == pytest.approx(distance, abs=6e-6)
    assert float(mixtures.distance(f, g, mixtures.ise)) == pytest.approx(ise, abs=6e-6)
    assert mixtures.kl_quadrature(f, g) == pytest.approx(kl, abs=6e-5)


def test_the_cost_bounds_the_divergence_that_a_merge_causes() -> None:
    f = mixtures.classic()
    first, second = (torch.tensor(side) for side in zip(*pairs_of(len(f)), strict=True))
    bounds = mixtures.kl_bound(mixtures.Components.of(f), first, second)
    for (i, j), bound in zip(pairs_of(len(f)), bounds.tolist(), strict=True):
        assert 0 <= mixtures.kl_quadrature(f, merged(f, i, j)) <= bound


def test_a_run_keeps_the_moments_of_every_draw(run_cell: Callable[..., dict[str, Any]]) -> None:
    result = run_cell("method=runnalls", "mixture=random", "profile=smoke")
    values = {measure["name"]: measure["values"] for measure in result["measures"]}
    assert len(values["distance"]) == 3
    assert max(values["mean_error"] + values["covariance_error"]) < 1e-12
