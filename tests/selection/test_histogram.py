"""Bins, divergences and whole numbers in proportion."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from distill_bench.selection.histogram import BINS, bin_numbers, divergence, histogram, largest_remainder
from distill_bench.selection.shapes import SHAPES, shape_for


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_edges_belong_to_the_bin_above_and_one_to_the_last() -> None:
    edges = torch.arange(11, dtype=torch.float64) / 10
    assert bin_numbers(edges).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert bin_numbers((edges - 1e-9).clamp_min(0)).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_the_published_bins_differ_at_three_edges_alone() -> None:
    edges = np.arange(11) / 10
    published = [int(np.histogram([edge], bins=np.arange(0, 1.1, 0.1))[0].argmax()) for edge in edges]
    ours = bin_numbers(torch.from_numpy(edges)).tolist()
    assert [k for k in range(11) if published[k] != ours[k]] == [3, 6, 7]
    assert all(published[k] == ours[k] - 1 for k in (3, 6, 7))


def test_a_histogram_counts_every_bin() -> None:
    numbers = torch.randint(8, (57,), generator=draws(0))
    assert histogram(numbers).tolist() == [int((numbers == k).sum()) for k in range(BINS)]


@pytest.mark.parametrize("seed", range(5))
def test_the_divergence_is_scipys_in_bits(seed: int) -> None:
    p, q = (torch.randint(0, high, (BINS,), generator=draws(seed)) + low for high, low in ((4, 0), (3, 1)))
    p[0] += 1
    assert float(divergence(p, q)) == pytest.approx(entropy(p, q, base=2), abs=1e-12)
    q[0] = 0
    assert math.isinf(entropy(p, q, base=2)) and math.isinf(float(divergence(p, q)))


def test_smoothing_makes_the_divergence_finite_and_keeps_its_zero() -> None:
    p, q = torch.eye(BINS)[3] * 10, torch.eye(BINS)[7] * 10
    assert 0 < float(divergence(p, q, smoothing=0.5)) < math.inf
    assert float(divergence(p, p, smoothing=0.5)) == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_remainder_rounds_every_share_and_keeps_the_sum(seed: int) -> None:
    weights = torch.randint(0, 200, (BINS,), generator=draws(seed))
    total = int(torch.randint(1, 60, (), generator=draws(seed + 100)))
    numbers = largest_remainder(weights, total)
    assert int(numbers.sum()) == total
    for number, weight in zip(numbers.tolist(), weights.tolist(), strict=True):
        assert abs(number - Fraction(weight * total, int(weights.sum()))) < 1


def test_whole_shares_are_kept_and_repetition_changes_nothing() -> None:
    weights = torch.tensor([4, 0, 2, 8, 6, 0, 0, 10, 4, 6])
    assert largest_remainder(weights, 20).tolist() == (weights // 2).tolist()
    uneven = torch.tensor([7, 1, 2, 8, 6, 0, 5, 13, 4, 1])
    assert torch.equal(largest_remainder(uneven, 10), largest_remainder(37 * uneven, 10))


def test_what_is_missing_goes_to_the_largest_fractions() -> None:
    # shares 2.6, 1.3, 1.1: one image is missing, and the first has the largest fraction
    assert largest_remainder(torch.tensor([26, 13, 11]), 5).tolist() == [3, 1, 1]


def test_of_equal_fractions_the_first_are_rounded_up() -> None:
    thirds = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert largest_remainder(thirds, 10).tolist()[:3] == [4, 3, 3]
    assert largest_remainder(thirds, 11).tolist()[:3] == [4, 4, 3]


def test_every_shape_has_its_number_of_images_and_others_are_scaled() -> None:
    for name, sizes in SHAPES.items():
        for size, shape in sizes.items():
            assert len(shape) == BINS and sum(shape) == size
            assert shape_for(name, size) == shape
    assert shape_for("hill", 1) == SHAPES["hill"][10]
    assert shape_for("hill", 49) == SHAPES["hill"][20]
    assert int(largest_remainder(torch.tensor(shape_for("cliff", 7)), 7).sum()) == 7
