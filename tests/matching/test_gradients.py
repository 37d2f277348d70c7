"""Laws of gradient matching: per-class gradients, their distance, the table of loops, the gradient of the
images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import augment, models
from distill_bench.groups import Norm, StudentConfig
from distill_bench.matching import gradients
from distill_bench.matching.gradients import (
    ClassNetworks,
    class_gradients,
    gradient_distance,
    image_gradient,
    loop_lengths,
)

K = 5


def network(norm: Norm = Norm.instance) -> Any:
    student = StudentConfig(width=6, norm=norm)
    net = models.build(student, channels=1, num_classes=K, resolution=8).double()
    models.reinitialise(net, torch.Generator().manual_seed(0))
    return net


def images(per_class: int, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(K, per_class, 1, 8, 8, generator=draws, dtype=torch.float64)


def looped(net: Any, x: Tensor, *, create_graph: bool = False) -> list[Tensor]:
    """Class by class, by definition."""
    rows = []
    for k in range(len(x)):
        loss = F.cross_entropy(net(x[k]), torch.full((x.shape[1],), k))
        rows.append(torch.autograd.grad(loss, list(net.parameters()), create_graph=create_graph))
    return [torch.stack(row) for row in zip(*rows, strict=True)]


def no_augmentation(x: Tensor, _rows: slice) -> Tensor:
    return x


def test_gradients_of_all_classes_in_one_pass_equal_a_loop() -> None:
    net, x = network(), images(7)
    networks = ClassNetworks(net, K, 7)
    networks.together, networks.rows = K, [slice(0, K)]
    ((_, together),) = networks.chunks()
    found = class_gradients(together, x, torch.arange(K))
    for mine, theirs in zip(found, looped(net, x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-11)


def test_they_equal_vmap_of_grad() -> None:
    net, x = network(), images(3)
    weights = dict(net.named_parameters())

    def loss(values: dict[str, Tensor], batch: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(net, values, (batch,)), label.expand(len(batch)))

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, torch.arange(K))
    for mine, theirs in zip(looped(net, x), each.values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-11)


def test_images_in_pieces_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network(), images(7)
    whole = class_gradients(net, x[:1], torch.arange(1))
    monkeypatch.setattr(gradients.training, "images_per_pass", lambda *_: 3)
    for mine, theirs in zip(class_gradients(net, x[:1], torch.arange(1)), whole, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("together", [1, 2, 3, K])
@pytest.mark.parametrize("norm", [Norm.instance, Norm.batch, Norm.layer, Norm.none])
def test_the_gradient_of_the_images_does_not_depend_on_how_classes_go_together(
    norm: Norm, together: int
) -> None:
    net, real, synthetic = network(norm), images(4), images(2, seed=1)
    net.train()(images(8, seed=2).flatten(0, 1))  # statistics that are not the initial ones
    networks = ClassNetworks(net, K, 2)
    networks.rows = [slice(k, min(k + together, K)) for k in range(0, K, together)]
    loss, found = image_gradient(networks, lambda rows: real[rows], synthetic, no_augmentation, "ours")
    leaf = synthetic.clone().requires_grad_()
    net.eval()
    expected = gradient_distance(looped(net, real), looped(net, leaf, create_graph=True)).sum()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(found, leaf.grad, rtol=1e-6, atol=1e-10)


def test_no_gradient_reaches_the_weights() -> None:
    net = network()
    image_gradient(
        ClassNetworks(net, K, 2), lambda rows: images(4)[rows], images(2, 1), no_augmentation, "ours"
    )
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_distance_is_between_zero_and_twice_the_number_of_output_units() -> None:
    net = network()
    units = sum(len(parameter) for parameter in net.parameters() if parameter.ndim > 1)
    for seed in range(3):
        found = gradient_distance(looped(net, images(4)), looped(net, images(2, seed)))
        assert (found > 0).all()
        assert (found < 2 * units).all()
    opposite = [-gradient for gradient in looped(net, images(4))]
    assert (gradient_distance(looped(net, images(4)), opposite) > 1.9 * units).all()


def test_only_the_direction_of_each_output_unit_counts() -> None:
    a, b = (
        torch.randn(2, 4, 3, 3, 3, generator=torch.Generator().manual_seed(s), dtype=torch.float64)
        for s in (0, 1)
    )
    scales = torch.tensor([1.0, 7.0, 30.0, 2.0], dtype=torch.float64)[:, None, None, None]
    before = gradient_distance([a], [b])
    torch.testing.assert_close(gradient_distance([a], [scales * b]), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient_distance([scales * a], [b]), before, rtol=1e-5, atol=1e-5)
    assert float(gradient_distance([a], [scales * a]).max()) < 1e-5
    turned = scales.clone()
    turned[0] *= -1
    assert (gradient_distance([a], [turned * a]) > 1.99).all()


def test_parameters_of_one_axis_count_nothing() -> None:
    weight = torch.ones(2, 3, 4)
    bias = [torch.randn(2, 3, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    alone = gradient_distance([weight], [weight])
    assert torch.equal(gradient_distance([weight, bias[0]], [weight, bias[1]]), alone)
    assert (gradient_distance([weight, bias[0]], [weight, bias[1]], "mse") > 0).all()
    assert (gradient_distance([weight, bias[0]], [weight, bias[1]], "cosine") > 0).all()


def test_equal_batches_leave_only_what_the_small_constant_makes() -> None:
    found = looped(network(), images(4))
    squares = [gradient.flatten(2).square().sum(2) for gradient in found if gradient.ndim > 2]
    expected = sum((1e-6 / (n + 1e-6)).sum(1) for n in squares)
    torch.testing.assert_close(gradient_distance(found, found), expected)
    nothing = [torch.zeros(1, 3, 4)]
    assert float(gradient_distance(nothing, nothing)) == 3  # a unit without gradient counts 1


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_the_other_distances_are_those_of_the_whole_vector(kind: str) -> None:
    a, b = looped(network(), images(4)), looped(network(), images(2, 1))
    for k in range(K):
        u, v = (torch.cat([g[k].flatten() for g in part]) for part in (a, b))
        expected = (u - v).square().sum() if kind == "mse" else 1 - F.cosine_similarity(u, v, dim=0)
        torch.testing.assert_close(gradient_distance(a, b, kind)[k], expected, rtol=1e-5, atol=1e-6)


class SmoothNet(nn.Module):
    """Softplus for ReLU, so that finite differences are meaningful."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.linear = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(48, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.softplus(self.convolution(x)).flatten(1))


@pytest.mark.parametrize("kind", ["ours", "cosine", "mse"])
def test_the_second_order_gradient_agrees_with_finite_differences(kind: str) -> None:
    net, draws = SmoothNet().double(), torch.Generator().manual_seed(1)
    real = torch.randn(1, 4, 1, 4, 4, generator=draws, dtype=torch.float64)
    synthetic = torch.randn(1, 2, 1, 4, 4, generator=draws, dtype=torch.float64).requires_grad_()
    target = class_gradients(net, real, torch.tensor([2]))

    def distance(x: Tensor) -> Tensor:
        return gradient_distance(target, class_gradients(net, x, torch.tensor([2]), create_graph=True), kind)

    assert torch.autograd.gradcheck(distance, (synthetic,))


@pytest.mark.parametrize(
    ("per_class", "expected"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10))],
)
def test_the_loops_are_those_of_the_released_code(per_class: int, expected: tuple[int, int]) -> None:
    assert loop_lengths(per_class) == expected


def test_other_sizes_lie_between_and_bounds_hold() -> None:
    assert loop_lengths(5) == (5, 23)
    assert loop_lengths(15) == (15, round(37.5))
    assert loop_lengths(100) == loop_lengths(50)
    assert loop_lengths(10, 3, 7) == (3, 7)
    assert loop_lengths(1, 3, 7) == (1, 1)


def test_the_augmentation_is_siamese() -> None:
    draws = [torch.Generator().manual_seed(s) for s in (0, 1)]
    same = augment.siamese("color_crop_cutout_scale_rotate", K, *draws)
    x = images(3).float()
    both = same(x, slice(None)), same(torch.cat([x, x], dim=1), slice(None))
    assert torch.equal(both[1], torch.cat([both[0], both[0]], dim=1))
    assert torch.equal(same(x[2:4], slice(2, 4)), both[0][2:4])
    assert not torch.equal(both[0], x)


def test_copies_follow_the_network_when_it_changes() -> None:
    net, x = network(), images(3)
    networks = ClassNetworks(net, K, 3)
    networks.rows = [slice(0, K)]
    before = class_gradients(next(networks.chunks())[1], x, torch.arange(K))
    models.reinitialise(net, torch.Generator().manual_seed(1))
    after = class_gradients(next(networks.chunks())[1], x, torch.arange(K))
    assert not torch.allclose(before[-2], after[-2])
    torch.testing.assert_close(after[-2], looped(net, x)[-2])


def test_every_class_is_in_one_chunk_and_chunks_are_even() -> None:
    for num_classes, limit in ((10, 4), (200, 30), (7, 7), (3, 10)):
        networks = ClassNetworks.__new__(ClassNetworks)
        networks._limit = lambda *_, limit=limit: limit  # type: ignore[method-assign]
        ClassNetworks.__init__(networks, network(), num_classes, 1)
        sizes = [rows.stop - rows.start for rows in networks.rows]
        assert sum(sizes) == num_classes
        assert max(sizes) <= limit
        assert len(sizes) == math.ceil(num_classes / max(sizes))


Make = Callable[..., Any]


def test_training_between_steps_learns_the_images(context: Make) -> None:
    ctx = context("method=dc", "dataset=digits", "ipc=2", "profile=smoke")
    chosen = ctx.dataset.train.sample_per_class(2, torch.Generator().manual_seed(0)).flatten()
    x, labels = ctx.dataset.train.images(chosen), ctx.dataset.train.labels[chosen]
    net = models.build(ctx.group(StudentConfig), channels=1, num_classes=10, resolution=8)
    before = float(F.cross_entropy(net(x), labels).detach())
    descent = torch.optim.SGD(net.parameters(), lr=0.1)
    generators = [torch.Generator().manual_seed(s) for s in (0, 1)]
    gradients.train_network(net, descent, x, labels, 100, "", *generators)
    assert float(F.cross_entropy(net(x), labels).detach()) < 0.5 * before
