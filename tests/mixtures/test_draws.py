"""Many draws in one run: each on its own, and a stopped run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench import groups, mixtures
from distill_bench.groups import MixtureKind
from distill_bench.interrupt import Interrupted
from distill_bench.mixtures import GaussianMixture, Reduction
from tests.mixtures.support import make_context

RANDOM: dict[str, Any] = {
    "kind": MixtureKind.random,
    "components": 6,
    "target": 3,
    "dimension": 2,
    "draws": 5,
}
CONFIG = groups.MixtureConfig(**RANDOM)


def west(f: GaussianMixture, target: int) -> Reduction:
    return mixtures.reduce_greedily(f, target, mixtures.LeastImportant)


def test_each_draw_is_reduced_on_its_own(tmp_path: Path) -> None:
    product = mixtures.reduce_draws(make_context(tmp_path), CONFIG, west)
    assert len(product.originals) == len(product.reductions) == len(product.seconds) == 5
    for f, reduction in zip(product.originals, product.reductions, strict=True):
        alone = west(f, 3)
        assert torch.equal(reduction.mixture.means, alone.mixture.means)
        assert reduction.merges == alone.merges
    assert all(seconds > 0 for seconds in product.seconds)


def test_more_draws_begin_with_the_same_mixtures() -> None:
    few, many = (mixtures.originals(groups.MixtureConfig(**{**RANDOM, "draws": k}), seed=1) for k in (2, 4))
    assert all(torch.equal(a.means, b.means) for a, b in zip(few, many, strict=False))
    assert not torch.equal(many[0].means, many[1].means)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = mixtures.reduce_draws(make_context(tmp_path / "whole"), CONFIG, west)
    stopped = make_context(tmp_path / "stopped")
    reduced = 0

    def stop_at_the_third(f: GaussianMixture, target: int) -> Reduction:
        nonlocal reduced
        reduced += 1
        stopped.interrupt.requested = reduced >= 4  # one of them before the clock starts
        return west(f, target)

    with pytest.raises(Interrupted, match="reduce 3/5"):
        mixtures.reduce_draws(stopped, CONFIG, stop_at_the_third)
    resumed = mixtures.reduce_draws(make_context(tmp_path / "stopped"), CONFIG, west)
    for one, other in zip(whole.reductions, resumed.reductions, strict=True):
        assert torch.equal(one.mixture.covariances, other.mixture.covariances)
        assert one.merges == other.merges


def test_fewer_components_than_the_target_are_kept_as_they_are(tmp_path: Path) -> None:
    first_two = lambda f, _: Reduction(f.select(slice(2)), [(0, 1)], dropped=4)  # noqa: E731
    product = mixtures.reduce_draws(make_context(tmp_path), CONFIG, first_two)
    assert [len(reduction.mixture) for reduction in product.reductions] == [2] * 5
    assert product.reductions[0].dropped == 4
