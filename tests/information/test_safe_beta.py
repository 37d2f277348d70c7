"""The bound on beta with a fixed centroid."""

from __future__ import annotations

import pytest
import torch

from distill_bench.information import safe_beta


@pytest.mark.parametrize(
    ("own", "rarest", "bound"),
    [(0.9, 0.1, 1.28), (0.9, 0.011, 0.46), (0.99, 0.001, 0.24), (0.999, 1e-6, 0.10)],
)
def test_known_values(own: float, rarest: float, bound: float) -> None:
    rest = 1 - own - rarest
    centroid = torch.tensor([own, rarest] if rest < 1e-9 else [own, rest, rarest])
    assert safe_beta(centroid, 0) == pytest.approx(bound, abs=0.01)


def test_the_reward_peaks_at_the_label_below_the_bound_and_elsewhere_above() -> None:
    centroid = torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64)
    bound = safe_beta(centroid, 0)
    assert bound == pytest.approx(0.905, abs=0.005)
    steps = torch.arange(0, 401, dtype=torch.float64) / 400
    a, b = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    q = torch.stack([a, b, 1 - a - b], 1)[a + b <= 1 + 1e-12].clamp_min(0)

    def best(beta: float) -> torch.Tensor:
        kl = (torch.special.xlogy(q, q) - torch.special.xlogy(q, centroid)).sum(1)
        return q[(q[:, 0].log() + beta * kl).argmax()]

    assert best(0.95 * bound)[0] == 1
    assert best(1.05 * bound)[0] < 0.9


def test_the_bound_rises_with_the_rarest_class() -> None:
    bounds = [safe_beta(torch.tensor([0.9, 0.1 - rare, rare]), 0) for rare in (0.001, 0.01, 0.03, 0.05)]
    assert bounds == sorted(set(bounds))
