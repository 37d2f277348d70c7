"""Williams: figures of the classic mixture, and the two criteria."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from distill_bench import mixtures
from distill_bench.methods.mixture_reduction import williams
from distill_bench.methods.mixture_reduction.williams import Config, Criterion
from distill_bench.mixtures import GaussianMixture
from tests.mixtures.support import angle, make_context, random_mixture


def reduced(folder: Path, target: int, criterion: Criterion, **mixture: Any) -> GaussianMixture:
    """What the method makes of the classic mixture."""
    product = williams.run(make_context(folder, target=target, **mixture), Config(criterion=criterion))
    return product.reductions[0].mixture


@pytest.mark.parametrize("criterion", Criterion, ids=lambda criterion: criterion.name)
def test_the_classic_mixture_gives_the_known_figures(tmp_path: Path, criterion: Criterion) -> None:
    f, g = mixtures.classic(), reduced(tmp_path, 5, criterion)
    assert angle(f, g) == pytest.approx(0.07591, abs=6e-6)
    assert float(mixtures.distance(f, g, mixtures.ise)) == pytest.approx(0.00295, abs=6e-6)
    assert mixtures.kl_quadrature(f, g) == pytest.approx(0.0059, abs=6e-5)


def test_the_global_criterion_sees_earlier_losses(tmp_path: Path) -> None:
    f = mixtures.classic()
    by = {criterion.name: reduced(tmp_path / criterion.name, 3, criterion) for criterion in Criterion}
    errors = {name: float(mixtures.distance(f, g, mixtures.ise)) for name, g in by.items()}
    assert errors["global"] < errors["local"]


def test_a_first_merge_by_either_criterion_is_the_same() -> None:
    f = random_mixture(0, 8, 3)
    merges = [
        mixtures.reduce_greedily(f, 7, rule).merges
        for rule in (
            lambda slots: mixtures.NearestToOriginal(slots, mixtures.ise),
            lambda slots: mixtures.Cheapest(slots, mixtures.pair_ise),
        )
    ]
    assert merges[0] == merges[1]


def test_a_run_obeys_its_criterion(run_cell: Callable[..., dict[str, Any]]) -> None:
    errors = {}
    for criterion in ("global", "local"):
        result = run_cell(
            "method=williams", f"method.criterion={criterion}", "mixture=random", "mixture.draws=20"
        )
        assert result["config"]["method"]["criterion"] == criterion
        errors[criterion] = fmean(next(m["values"] for m in result["measures"] if m["name"] == "ise"))
    assert errors["global"] < errors["local"]
