"""Laws of spatial attention and of the distance of class means."""

from __future__ import annotations

import pytest
import torch

from distill_bench.matching import spatial_attention
from distill_bench.matching.distribution import class_mean_loss


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random post-ReLU feature maps."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu()


def by_definition(f: torch.Tensor, p: float) -> torch.Tensor:
    """Sum over channels of |f|^p, flattened, divided by its norm, sample by sample."""
    rows = []
    for sample in f:
        z = sum(channel.abs() ** p for channel in sample).flatten()
        rows.append(z / max(float(z.norm()), 1e-12))
    return torch.stack(rows)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5, 4.0])
def test_attention_equals_its_definition(power: float) -> None:
    f = maps(3, 5, 4, 4)
    torch.testing.assert_close(spatial_attention(f, power), by_definition(f, power))


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_attention_is_a_non_negative_unit_vector(power: float) -> None:
    z = spatial_attention(maps(6, 5, 4, 4), power)
    assert (z >= 0).all()
    torch.testing.assert_close(z.norm(dim=1), torch.ones(6, dtype=torch.float64))


def test_attention_does_not_change_when_a_layer_is_scaled() -> None:
    f = maps(3, 5, 4, 4)
    torch.testing.assert_close(spatial_attention(1e4 * f, 4), spatial_attention(f, 4))


def test_attention_does_not_depend_on_the_order_of_channels_and_follows_a_flip() -> None:
    f = maps(3, 5, 4, 4)
    torch.testing.assert_close(spatial_attention(f[:, [4, 2, 0, 1, 3]], 4), spatial_attention(f, 4))
    flipped = spatial_attention(f.flip(-1), 4).unflatten(1, (4, 4)).flip(-1).flatten(1)
    torch.testing.assert_close(flipped, spatial_attention(f, 4))


def test_a_large_power_tends_to_the_position_of_the_largest_activation() -> None:
    f = maps(3, 5, 4, 4)
    z = spatial_attention(f, 200)
    assert z.max(1).values.min() > 0.99
    assert torch.equal(z.argmax(1), f.amax(1).flatten(1).argmax(1))


def test_attention_is_finite_for_large_half_precision_features_and_for_a_dead_layer() -> None:
    z = spatial_attention(torch.full((1, 128, 4, 4), 60.0, dtype=torch.float16), 4)
    assert z.isfinite().all()
    assert z.max() > 0
    dead = torch.zeros(1, 3, 4, 4, requires_grad=True)
    spatial_attention(dead, 4).sum().backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_the_loss_of_class_means_is_zero_for_equal_means_and_symmetric() -> None:
    a, b = maps(3, 7), maps(3, 7, seed=1)
    assert class_mean_loss([(2.0, a)], [(2.0, a)]) == 0
    assert class_mean_loss([(2.0, a)], [(2.0, b)]) == class_mean_loss([(2.0, b)], [(2.0, a)])


def test_the_loss_equals_a_loop_over_layers_classes_and_coordinates() -> None:
    real, synthetic = [(1.0, maps(3, 7)), (0.5, maps(3, 2))], [(1.0, maps(3, 7, seed=1)), (0.5, maps(3, 2, seed=1))]
    expected = 0.0
    for (w, t), (_, s) in zip(real, synthetic, strict=True):
        for k in range(3):
            expected += w * sum(float(x - y) ** 2 for x, y in zip(t[k], s[k], strict=True))
    assert float(class_mean_loss(real, synthetic)) == pytest.approx(expected)


def test_no_gradient_reaches_the_real_side() -> None:
    real, synthetic = maps(3, 7).requires_grad_(), maps(3, 7, seed=1).requires_grad_()
    class_mean_loss([(1.0, real)], [(1.0, synthetic)]).backward()
    assert real.grad is None
    assert synthetic.grad is not None
