"""Laws of herding and k-center selection."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch

from distill_bench.matching import greedy_kcenter, herding

SELECT = {"herding": herding, "kcenter": greedy_kcenter}


def classes(
    count: int = 3, size: int = 12, dimension: int = 4, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (K, N, D), and a mask under which class k has its last k rows missing."""
    features = torch.randn(
        count, size, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    valid = torch.arange(size)[None] < size - torch.arange(count)[:, None]
    return features + 5, valid


def herding_by_definition(z: torch.Tensor, count: int) -> list[int]:
    """i_t = argmin over those not chosen of |t mu - sum of the chosen - z_i|."""
    mu, chosen = z.mean(0), list[int]()
    for t in range(1, count + 1):
        total = z[chosen].sum(0)
        cost = [
            float((t * mu - total - row).norm()) if i not in chosen else torch.inf for i, row in enumerate(z)
        ]
        chosen.append(min(range(len(cost)), key=cost.__getitem__))
    return chosen


def kcenter_by_definition(z: torch.Tensor, count: int) -> list[int]:
    chosen = [int((z - z.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < count:
        nearest = [min(float((row - z[c]).norm()) for c in chosen) for row in z]
        chosen.append(max(range(len(nearest)), key=nearest.__getitem__))
    return chosen


@pytest.mark.parametrize(
    ("select", "reference"),
    [(herding, herding_by_definition), (greedy_kcenter, kcenter_by_definition)],
    ids=["herding", "kcenter"],
)
def test_selection_over_all_classes_equals_the_definition_class_by_class(select: Any, reference: Any) -> None:
    features, valid = classes()
    picks = select(features, valid, 5)
    for k in range(3):
        assert picks[k].tolist() == reference(features[k][valid[k]], 5)


@pytest.mark.parametrize("name", SELECT)
def test_selected_images_are_distinct_and_of_their_class(name: str) -> None:
    features, valid = classes()
    picks = SELECT[name](features, valid, 10)
    for k in range(3):
        assert len(set(picks[k].tolist())) == 10
        assert valid[k, picks[k]].all()


@pytest.mark.parametrize("name", SELECT)
def test_a_larger_selection_begins_with_the_smaller(name: str) -> None:
    features, valid = classes()
    assert torch.equal(SELECT[name](features, valid, 7)[:, :3], SELECT[name](features, valid, 3))


@pytest.mark.parametrize("name", SELECT)
def test_selection_does_not_change_under_rotation_and_translation(name: str) -> None:
    features, valid = classes()
    rotation = torch.linalg.qr(
        torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ).Q
    assert torch.equal(SELECT[name](features @ rotation + 3, valid, 6), SELECT[name](features, valid, 6))


def test_one_herded_image_is_the_nearest_to_the_class_mean() -> None:
    features, valid = classes()
    nearest = [(z[v] - z[v].mean(0)).norm(dim=1).argmin() for z, v in zip(features, valid, strict=True)]
    assert herding(features, valid, 1)[:, 0].tolist() == [int(i) for i in nearest]


def test_herding_a_whole_class_leaves_no_error_of_the_mean() -> None:
    features, valid = classes(count=1)
    picks = herding(features, valid, features.shape[1])
    torch.testing.assert_close(features[0, picks[0]].mean(0), features[0].mean(0))


def radius(z: torch.Tensor, chosen: list[int]) -> float:
    """The largest distance of a point from its nearest centre."""
    return float(torch.cdist(z, z[chosen]).amin(1).max())


def test_greedy_kcenter_is_within_twice_the_best_radius_and_radii_never_grow() -> None:
    features, valid = classes(count=1, size=10, dimension=2)
    z = features[0]
    picks = greedy_kcenter(features, valid, 4)[0].tolist()
    radii = [radius(z, picks[:t]) for t in range(1, 5)]
    assert radii == sorted(radii, reverse=True)
    for t in (2, 3, 4):
        best = min(radius(z, list(c)) for c in combinations(range(10), t))
        assert radii[t - 1] <= 2 * best + 1e-12
