"""The draw: quotas first, the rest filled, nothing twice, and no word of the order in which images come."""

from __future__ import annotations

import pytest
import torch

from distill_bench.selection.choose import fill_bins, most_extreme, most_or_least_confident, places_in_group
from distill_bench.selection.histogram import BINS, histogram


def keys(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(BINS, (count,), generator=torch.Generator().manual_seed(seed))


def test_quotas_are_met_when_the_pool_can() -> None:
    pool, quotas = numbers(200), torch.tensor([3, 0, 2, 1, 0, 4, 0, 0, 5, 5])
    choice = fill_bins(pool, quotas, keys(200))
    assert choice.shortage == 0
    assert torch.equal(histogram(pool[choice.places]), quotas)
    assert len(choice.places.unique()) == 20


def test_what_a_bin_lacks_comes_from_the_rest_after_the_other_quotas() -> None:
    pool = numbers(100)
    pool[pool == 4] = 5
    quotas = torch.tensor([1, 1, 1, 0, 3, 2, 1, 1, 0, 0])
    choice = fill_bins(pool, quotas, keys(100))
    assert choice.shortage == 3
    assert len(choice.places.unique()) == 10
    found = histogram(pool[choice.places])
    wanted = quotas.clone()
    wanted[4] = 0
    assert torch.all(found >= wanted) and int(found.sum()) == 10


@pytest.mark.parametrize("seed", range(5))
def test_a_pool_of_ipc_images_is_kept_whole(seed: int) -> None:
    quotas = histogram(numbers(10, seed + 50))
    assert fill_bins(numbers(10, seed), quotas, keys(10)).places.sort().values.tolist() == list(range(10))


def test_the_order_of_the_pool_does_not_matter() -> None:
    pool, quotas, key = numbers(60), torch.tensor([2] * 10), keys(60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    before = fill_bins(pool, quotas, key).places
    after = fill_bins(pool[order], quotas, key[order]).places
    assert set(order[after].tolist()) == set(before.tolist())


def test_every_image_of_a_bin_is_drawn_equally_often() -> None:
    pool, quotas, repeats = torch.zeros(8, dtype=torch.long), torch.tensor([2] + [0] * 9), 2000
    kept = torch.cat([fill_bins(pool, quotas, keys(8, seed)).places for seed in range(repeats)])
    expected = repeats * 2 / 8
    assert (kept.bincount(minlength=8) - expected).abs().max() < 5 * expected**0.5


def test_extremes_are_extreme_and_ties_are_drawn() -> None:
    d = torch.tensor([0.5, 0.1, 0.9, 0.1, 0.1, 0.7])
    assert most_extreme(d, keys(6), 2, hardest=True).places.tolist() == [2, 5]
    drawn = {
        tuple(sorted(most_extreme(d, keys(6, seed), 2, hardest=False).places.tolist())) for seed in range(40)
    }
    assert drawn == {(1, 3), (1, 4), (3, 4)}


@pytest.mark.parametrize("count, expected", [(2, [1, 3]), (4, [0, 1, 3, 5])])
def test_the_most_confident_of_the_right_come_first_and_the_easiest_others_fill_up(
    count: int, expected: list[int]
) -> None:
    d = torch.tensor([0.4, 0.1, 0.9, 0.2, 0.8, 0.6])
    right = torch.tensor([True, True, False, True, False, False])
    choice = most_or_least_confident(d, right, keys(6), count)
    assert sorted(choice.places.tolist()) == expected
    assert choice.shortage == max(0, count - 3)


def test_from_fifty_images_on_the_least_confident_of_the_right_are_kept() -> None:
    d = torch.linspace(0, 1, 200)
    right = d < 0.6
    kept = most_or_least_confident(d, right, keys(200), 50).places
    assert right[kept].all()
    assert float(d[kept].min()) > float(d[right].sort().values[-51])


def test_places_count_within_each_group_in_the_order_of_the_keys() -> None:
    groups = torch.tensor([1, 0, 1, 1, 0])
    key = torch.tensor([0.3, 0.9, 0.1, 0.2, 0.5])
    assert places_in_group(groups, key).tolist() == [2, 1, 0, 1, 0]
