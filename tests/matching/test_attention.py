"""Laws of spatial and channel attention, of their mixture, and of the distance of class means."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distill_bench import models
from distill_bench.groups import StudentConfig
from distill_bench.matching import (
    AttentionMatching,
    attention,
    channel_attention,
    joint_attention,
    spatial_attention,
)
from distill_bench.matching.distribution import class_mean_distances, class_mean_loss

Attention = Callable[[torch.Tensor, float], torch.Tensor]
BOTH = pytest.mark.parametrize(
    "attention_of", [spatial_attention, channel_attention], ids=["spatial", "channel"]
)


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


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5, 4.0])
def test_channel_attention_equals_its_definition(power: float) -> None:
    f = maps(3, 5, 4, 6)
    turned = f.flatten(2).transpose(1, 2).unsqueeze(-1)  # positions for channels
    torch.testing.assert_close(channel_attention(f, power), by_definition(turned, power))


@BOTH
@pytest.mark.parametrize("power", [1.0, 4.0])
def test_attention_is_a_non_negative_unit_vector(attention_of: Attention, power: float) -> None:
    z = attention_of(maps(6, 5, 4, 4), power)
    assert (z >= 0).all()
    torch.testing.assert_close(z.norm(dim=1), torch.ones(6, dtype=torch.float64))


@BOTH
@pytest.mark.parametrize("power", [1.0, 4.0])
def test_attention_does_not_change_when_a_layer_is_scaled_or_its_sign_flips(
    attention_of: Attention, power: float
) -> None:
    f = maps(3, 5, 4, 4)
    torch.testing.assert_close(attention_of(1e4 * f, power), attention_of(f, power))
    assert torch.equal(attention_of(-f, power), attention_of(f, power))


def test_attention_does_not_depend_on_the_order_of_channels_and_follows_a_flip() -> None:
    f = maps(3, 5, 4, 4)
    torch.testing.assert_close(spatial_attention(f[:, [4, 2, 0, 1, 3]], 4), spatial_attention(f, 4))
    flipped = spatial_attention(f.flip(-1), 4).unflatten(1, (4, 4)).flip(-1).flatten(1)
    torch.testing.assert_close(flipped, spatial_attention(f, 4))


def test_channel_attention_does_not_depend_on_the_order_of_positions_and_follows_that_of_channels() -> None:
    f, order = maps(3, 5, 4, 4), [4, 2, 0, 1, 3]
    shuffled = f.flatten(2)[..., torch.randperm(16, generator=torch.Generator().manual_seed(1))].unflatten(
        2, (4, 4)
    )
    for moved in (f.flip(-1), f.rot90(dims=(2, 3)), shuffled):
        torch.testing.assert_close(channel_attention(moved, 4), channel_attention(f, 4))
        assert not torch.allclose(spatial_attention(moved, 4), spatial_attention(f, 4))
    torch.testing.assert_close(channel_attention(f[:, order], 4), channel_attention(f, 4)[:, order])
    assert not torch.allclose(channel_attention(f[:, order], 4), channel_attention(f, 4))


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_maps_that_are_constant_over_positions_have_a_closed_form(power: float) -> None:
    u = maps(3, 5) + 0.1
    f = u[:, :, None, None].expand(3, 5, 4, 6)
    raised = u**power
    torch.testing.assert_close(channel_attention(f, power), raised / raised.norm(dim=1, keepdim=True))
    torch.testing.assert_close(
        spatial_attention(f, power), torch.full((3, 24), 24**-0.5, dtype=torch.float64)
    )


def test_the_two_attentions_of_separable_maps_each_see_one_factor() -> None:
    u, v, other = maps(3, 5) + 0.1, maps(3, 1, 4, 4, seed=1) + 0.1, maps(3, 5, seed=2) + 0.1
    one, two = u[:, :, None, None] * v, other[:, :, None, None] * v
    torch.testing.assert_close(spatial_attention(one, 4), spatial_attention(two, 4))
    torch.testing.assert_close(channel_attention(one, 4), channel_attention(u[:, :, None, None], 4))
    assert not torch.allclose(channel_attention(one, 4), channel_attention(two, 4))


def test_a_single_position_or_a_single_channel_says_nothing() -> None:
    torch.testing.assert_close(
        spatial_attention(maps(3, 5, 1, 1) + 0.1, 4), torch.ones(3, 1, dtype=torch.float64)
    )
    torch.testing.assert_close(channel_attention(maps(3, 1, 4, 4), 4), torch.ones(3, 1, dtype=torch.float64))


def test_joint_attention_is_both_divided_by_the_root_of_two() -> None:
    f = maps(3, 5, 4, 4)
    both = torch.cat([spatial_attention(f, 4), channel_attention(f, 4)], dim=1)
    torch.testing.assert_close(
        joint_attention(spatial_attention(f, 4), channel_attention(f, 4)), both / 2**0.5
    )


def test_instance_norm_makes_channel_attention_nearly_blind_at_small_powers() -> None:
    """The reason for the warning: the channels' attention varies less than half as much at p = 2 as at p =
    4."""
    draws = torch.Generator().manual_seed(0)
    net = models.build(StudentConfig(width=32, depth=1), channels=1, num_classes=10, resolution=8)
    models.reinitialise(net, draws)
    f = net(torch.randn(64, 1, 8, 8, generator=draws), features=True).maps[0].detach()

    def variation(power: float) -> float:
        z = channel_attention(f, power)
        return float((z.std(dim=1) / z.mean(dim=1)).mean())

    assert variation(2) < variation(4) / 2


def network_features(images: int, seed: int) -> Any:
    layers = [maps(images, 4, 6, 6, seed=seed), maps(images, 5, 3, 3, seed=seed + 1)]
    return SimpleNamespace(maps=layers, embedding=maps(images, 7, seed=seed + 2))


def class_means(
    matched: AttentionMatching, features: Any, classes: int = 3
) -> list[tuple[float, torch.Tensor]]:
    return [(w, v.unflatten(0, (classes, -1)).mean(1)) for w, v in matched.statistics(features)]


MIXTURES: dict[str, tuple[dict[str, Any], list[tuple[int, int]], set[str]]] = {
    "neither": ({}, [(6, 7)], {"mmd"}),
    "spatial": ({"spatial": 1.0}, [(6, 36), (6, 7)], {"spatial", "mmd"}),
    "channel": ({"channel": 1.0}, [(6, 4), (6, 7)], {"channel", "mmd"}),
    "both": ({"spatial": 1.0, "channel": 1.0}, [(6, 36), (6, 4), (6, 7)], {"spatial", "channel", "mmd"}),
    "joint": ({"spatial": 1.0, "channel": 1.0, "joint": True}, [(6, 40), (6, 7)], {"joint", "mmd"}),
    "both, last block too": (
        {"spatial": 1.0, "channel": 1.0, "last": True},
        [(6, 36), (6, 9), (6, 4), (6, 5), (6, 7)],
        {"spatial", "channel", "mmd"},
    ),
}


@pytest.mark.parametrize(("settings", "shapes", "names"), MIXTURES.values(), ids=MIXTURES.keys())
def test_a_mixture_has_the_terms_that_have_a_weight_and_names_them(
    settings: dict[str, Any], shapes: list[tuple[int, int]], names: set[str]
) -> None:
    matched = AttentionMatching(**settings, task_balance=0.01, loss_scale=100.0)
    terms = matched.statistics(network_features(6, 0))
    assert [values.shape for _, values in terms] == shapes
    assert [weight for weight, _ in terms] == [100.0] * (len(shapes) - 1) + [1.0]
    real, synthetic = (class_means(matched, network_features(n, seed)) for n, seed in ((12, 0), (6, 5)))
    assert set(matched.curves(class_mean_distances(real, synthetic))) == names


def test_the_curves_are_the_terms_of_the_loss() -> None:
    matched = AttentionMatching(spatial=0.5, channel=2.0, last=True, task_balance=0.01, loss_scale=100.0)
    real, synthetic = (class_means(matched, network_features(n, seed)) for n, seed in ((12, 0), (6, 5)))
    parts = matched.curves(class_mean_distances(real, synthetic))
    whole = 100 * (0.5 * parts["spatial"] + 2 * parts["channel"] + 0.01 * parts["mmd"])
    torch.testing.assert_close(whole, class_mean_loss(real, synthetic))
    only = AttentionMatching(channel=1.0, last=True, task_balance=0.0, loss_scale=1.0)
    alone = class_mean_loss(
        class_means(only, network_features(12, 0)), class_means(only, network_features(6, 5))
    )
    torch.testing.assert_close(parts["channel"], alone)


@pytest.mark.parametrize(
    ("powers", "times"), [((4.0, 4.0), 2), ((4.0, 2.0), 4)], ids=["one power", "two powers"]
)
def test_the_power_is_taken_once_a_layer_where_both_attentions_have_one(
    monkeypatch: pytest.MonkeyPatch, powers: tuple[float, float], times: int
) -> None:
    calls: list[float] = []
    raised = attention._raised

    def counted(f: torch.Tensor, power: float) -> torch.Tensor:
        calls.append(power)
        return raised(f, power)

    features = network_features(6, 0)
    spatial, channel = powers
    expected = [spatial_attention(f, spatial) for f in features.maps]
    expected += [channel_attention(f, channel) for f in features.maps]
    monkeypatch.setattr(attention, "_raised", counted)
    matched = AttentionMatching(
        spatial=1.0,
        channel=1.0,
        spatial_power=spatial,
        channel_power=channel,
        last=True,
        task_balance=0.01,
        loss_scale=100.0,
    )
    terms = matched.statistics(features)
    assert len(calls) == times
    assert all(torch.equal(values, other) for (_, values), other in zip(terms, expected, strict=False))


def test_a_large_power_tends_to_the_position_of_the_largest_activation() -> None:
    f = maps(3, 5, 4, 4)
    z = spatial_attention(f, 200)
    assert z.max(1).values.min() > 0.99
    assert torch.equal(z.argmax(1), f.amax(1).flatten(1).argmax(1))


@BOTH
def test_attention_is_finite_for_large_half_precision_features_and_for_a_dead_layer(
    attention_of: Attention,
) -> None:
    z = attention_of(torch.full((1, 128, 4, 4), 60.0, dtype=torch.float16), 4)
    assert z.isfinite().all()
    assert z.max() > 0
    dead = torch.zeros(1, 3, 4, 4, requires_grad=True)
    attention_of(dead, 4).sum().backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_the_loss_of_class_means_is_zero_for_equal_means_and_symmetric() -> None:
    a, b = maps(3, 7), maps(3, 7, seed=1)
    assert class_mean_loss([(2.0, a)], [(2.0, a)]) == 0
    assert class_mean_loss([(2.0, a)], [(2.0, b)]) == class_mean_loss([(2.0, b)], [(2.0, a)])


def test_the_loss_equals_a_loop_over_layers_classes_and_coordinates() -> None:
    real, synthetic = (
        [(1.0, maps(3, 7)), (0.5, maps(3, 2))],
        [(1.0, maps(3, 7, seed=1)), (0.5, maps(3, 2, seed=1))],
    )
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
