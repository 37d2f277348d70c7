"""The logarithmic scale and the search of its thresholds, against plain loops and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from distill_bench.selection.histogram import bin_numbers, histogram, largest_remainder
from distill_bench.selection.thresholds import FLOOR, _counts, best_thresholds, bounds, log_difficulty


def skewed(count: int, seed: int, decimals: int = 4) -> torch.Tensor:
    """Difficulties as a classifier gives them: most of them small, zeros among them."""
    return torch.from_numpy(np.random.default_rng(seed).beta(0.3, 3.0, count)).round(decimals=decimals)


def plain_scores(difficulty: np.ndarray, per_class: int, balance: float) -> np.ndarray:
    """The scores of all thresholds by the definition, one after another."""
    ordered, span = np.sort(difficulty), max(1, per_class // 2)
    raw = np.bincount(np.minimum((10 * difficulty).astype(int), 9), minlength=10)
    scores = np.zeros((span, span))
    for b in range(span):
        for t in range(span):
            lo, hi = ordered[b] or FLOOR, ordered[len(ordered) - 1 - t]
            scaled = np.log(np.clip(difficulty, lo, hi) / lo) / np.log(hi / lo)
            counts = np.bincount(np.minimum((10 * scaled).astype(int), 9), minlength=10)
            terms = [(balance, raw), (1 - balance, np.ones(10))]
            scores[b, t] = sum(weight * entropy(p, counts, base=2) for weight, p in terms if weight)
    return scores


def test_the_scale_is_monotone_from_the_floor_to_one() -> None:
    d = skewed(200, 0).sort().values
    z = log_difficulty(d, *bounds(d, 3, 4))
    assert torch.all(z.diff() >= 0) and float(z.min()) == FLOOR and float(z.max()) == 1
    assert z[:4].eq(FLOOR).all() and z[-5:].eq(1).all() and z[5] < z[-6]


@pytest.mark.parametrize("factor, power", [(0.37, 1.0), (1.0, 2.5), (0.2, 0.4)])
def test_the_scale_does_not_change_with_factors_and_powers(factor: float, power: float) -> None:
    d = skewed(100, 1).clamp_min(0.002)
    other = factor * d**power
    torch.testing.assert_close(
        log_difficulty(other, *bounds(other, 2, 3)), log_difficulty(d, *bounds(d, 2, 3)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("count", [10, 50, 250])
def test_a_geometric_progression_becomes_equally_spaced_and_uniform(count: int) -> None:
    d = torch.logspace(-3, -0.1, count, dtype=torch.float64)
    z = log_difficulty(d, *bounds(d, 0, 0))
    expected = torch.linspace(0, 1, count, dtype=torch.float64).clamp_min(FLOOR)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-12)
    assert histogram(bin_numbers(z)).eq(count // 10).all()


def test_a_lower_bound_of_zero_becomes_the_floor() -> None:
    assert bounds(torch.tensor([0.0, 0.0, 0.5, 0.7]), 1, 1) == (FLOOR, 0.5)
    assert bounds(torch.tensor([0.25, 0.0, 0.75, 0.5]), 1, 0) == (0.25, 0.75)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("per_class, seed", [(10, 0), (10, 2), (10, 21), (10, 29), (20, 3), (50, 4)])
def test_the_search_finds_what_plain_loops_find(per_class: int, seed: int, balance: float) -> None:
    d = skewed(5 * per_class, seed)
    scores = plain_scores(d.numpy(), per_class, balance)
    found = best_thresholds(d, per_class, balance)
    assert (found.easiest, found.hardest) == np.unravel_index(scores.argmin(), scores.shape)
    assert found.score == pytest.approx(scores.min(), abs=1e-9)


def test_candidates_that_empty_a_bin_are_rejected() -> None:
    d = skewed(50, 21)
    scores = plain_scores(d.numpy(), 10, 0.5)
    assert np.isinf(scores[0, 0]) and np.isfinite(scores).any()
    found = best_thresholds(d, 10)
    assert found.finite and (found.easiest, found.hardest) != (0, 0)


def test_if_every_candidate_empties_a_bin_the_first_is_kept_and_smoothing_helps() -> None:
    d = torch.tensor([0.001] * 25 + [0.9] * 25, dtype=torch.float64) + torch.arange(50) * 1e-4
    assert np.isinf(plain_scores(d.numpy(), 10, 0.5)).all()
    found = best_thresholds(d, 10)
    assert (found.easiest, found.hardest, found.score) == (0, 0, math.inf)
    assert best_thresholds(d, 10, smoothing=0.5).finite


def test_images_on_an_edge_are_counted_where_the_scale_puts_them() -> None:
    d = torch.logspace(-2, 0, 21, dtype=torch.float64)  # every second one lies on an edge, but for rounding
    counts = _counts(d.log(), d.log()[:10, None, None], d.log().flip(0)[None, :10, None])
    for b in range(10):
        for t in range(10):
            z = log_difficulty(d, *bounds(d, b, t))
            assert counts[b, t].tolist() == histogram(bin_numbers(z)).tolist()


def test_one_image_per_class_has_one_candidate() -> None:
    found = best_thresholds(skewed(5, 0), 1)
    assert (found.easiest, found.hardest) == (0, 0)


@pytest.mark.parametrize("value", [0.0, 0.9, 1e-4], ids=["perfect", "uniform", "the floor"])
def test_without_a_scale_everything_lies_in_the_middle(value: float) -> None:
    d = torch.full((50,), value, dtype=torch.float64)
    assert log_difficulty(d, *bounds(d, 0, 0)).eq(0.5).all()
    assert not math.isnan(best_thresholds(d, 10).score)


def test_quotas_do_not_change_when_every_original_is_repeated() -> None:
    d, factor = skewed(100, 7), 7
    repeated = d.repeat_interleave(factor)

    def quotas(values: torch.Tensor, easiest: int, hardest: int) -> list[int]:
        z = log_difficulty(values, *bounds(values, easiest, hardest))
        return largest_remainder(histogram(bin_numbers(z)), 10).tolist()

    assert quotas(d, 3, 2) == quotas(repeated, 3 * factor, 2 * factor)
    assert quotas(d, 0, 0) == quotas(repeated, 0, 0)
