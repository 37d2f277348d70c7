"""Laws of trajectory matching: the student's step and its way back, the distance, minibatches and the
experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench import models
from distill_bench.context import Context
from distill_bench.groups import Norm, StudentConfig
from distill_bench.matching import trajectories
from distill_bench.matching.trajectories import (
    FlatNetwork,
    expert_trajectory,
    minibatches,
    student_step,
    trajectory_distance,
)
from distill_bench.methods.dataset_distillation import mtt

K = 4
MakeContext = Callable[..., Context]
WORDS = ["method=mtt", "dataset=digits", "ipc=1", "profile=smoke"]
SMALL: dict[str, Any] = {
    "experts": 2,
    "train_epochs": 3,
    "max_start_epoch": 2,
    "syn_steps": 2,
    "lr_image": 100.0,
}


def setting(norm: Norm = Norm.instance) -> tuple[FlatNetwork, Tensor, Tensor, Tensor]:
    """A network, its weights, six images and their labels, in double precision."""
    net = models.build(StudentConfig(width=4, norm=norm), channels=1, num_classes=K, resolution=8).double()
    network, draws = FlatNetwork(net), torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 8, 8, generator=draws, dtype=torch.float64)
    return network, network.theta(), images, torch.arange(6) % K


def plain_step(network: FlatNetwork, theta: Tensor, images: Tensor, labels: Tensor, alpha: Tensor) -> Tensor:
    """The same step with its graph kept."""
    loss = F.cross_entropy(network(theta, images), labels)
    return theta - alpha * torch.autograd.grad(loss, theta, create_graph=True)[0]


def alpha_of(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def unroll(step: Any, steps: int, norm: Norm = Norm.instance) -> tuple[Tensor, Tensor, Tensor]:
    """L after some steps towards a fixed target, and its gradients for the images and alpha."""
    network, start, images, labels = setting(norm)
    target = start + 0.05 * torch.randn(
        start.shape, generator=torch.Generator().manual_seed(1), dtype=start.dtype
    )
    x, alpha, theta = images.requires_grad_(), alpha_of(0.05), start.clone().requires_grad_()
    for _ in range(steps):
        theta = step(network, theta, x, labels, alpha)
    loss = trajectory_distance(theta, start, target)
    of_images, of_alpha = torch.autograd.grad(loss, [x, alpha])
    return loss.detach(), of_images, of_alpha


@pytest.mark.parametrize("norm", [Norm.instance, Norm.batch])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_that_keeps_no_graph_has_the_same_gradients(steps: int, norm: Norm) -> None:
    for mine, theirs in zip(unroll(student_step, steps, norm), unroll(plain_step, steps, norm), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)


def test_kept_graphs_give_the_same_bits() -> None:
    for again, kept in zip(unroll(student_step, 3), unroll(partial(student_step, keep=True), 3), strict=True):
        assert torch.equal(again, kept)


def test_images_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = unroll(student_step, 3)
    monkeypatch.setattr(trajectories.training, "images_per_pass", lambda *_: 4)
    for mine, theirs in zip(unroll(student_step, 3), whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)


def test_a_student_that_does_not_move_is_at_distance_one() -> None:
    network, start, images, labels = setting()
    target = start + 0.1
    end = student_step(network, start, images, labels, alpha_of(0.0))
    assert torch.equal(end, start)
    assert float(trajectory_distance(end, start, target).detach()) == 1


def test_a_student_that_arrives_is_at_distance_zero() -> None:
    network, start, images, labels = setting()
    end = student_step(network, start, images, labels, alpha_of(0.1)).detach()
    assert float(trajectory_distance(end, start, end)) == 0
    assert float(trajectory_distance(end + 0.01, start, end)) > 0


def test_one_step_has_the_closed_form_derivative_in_alpha() -> None:
    network, start, images, labels = setting()
    target = start + 0.01
    alpha = alpha_of(0.05)
    loss = trajectory_distance(student_step(network, start, images, labels, alpha), start, target)
    leaf = start.clone().requires_grad_()
    g = network.gradient(leaf, images, labels) / len(images)
    expected = -2 * g @ (start - alpha.detach() * g - target) / (start - target).square().sum()
    torch.testing.assert_close(torch.autograd.grad(loss, alpha)[0], expected)


def test_the_order_of_the_weights_does_not_matter() -> None:
    draws = torch.Generator().manual_seed(0)
    end, start, target = (torch.randn(50, generator=draws, dtype=torch.float64) for _ in range(3))
    order = torch.randperm(50, generator=draws)
    found = trajectory_distance(end[order], start[order], target[order])
    torch.testing.assert_close(found, trajectory_distance(end, start, target))


def test_an_expert_that_did_not_move_gives_neither_loss_nor_gradient() -> None:
    start, end = torch.ones(5), torch.zeros(5, requires_grad=True)
    loss = trajectory_distance(end, start, start.clone())
    assert float(loss.detach()) == 0
    assert torch.equal(torch.autograd.grad(loss, end)[0], torch.zeros(5))


def test_the_network_as_a_function_is_the_network() -> None:
    network, theta, images, _ = setting()
    assert torch.equal(network(theta, images), network.net(images))
    assert not torch.allclose(network(theta + 0.1, images), network.net(images))


def test_minibatches_are_random_epochs() -> None:
    found = list(minibatches(10, 4, 7, torch.Generator().manual_seed(0)))
    assert [len(piece) for piece in found] == [4, 4, 2, 4, 4, 2, 4]
    for epoch in (found[:3], found[3:6]):
        assert torch.cat(epoch).sort().values.tolist() == list(range(10))
    assert torch.cat(found[:3]).tolist() != torch.cat(found[3:6]).tolist()
    for size in (0, 10, 99):
        assert [len(piece) for piece in minibatches(10, size, 2, torch.Generator().manual_seed(0))] == [
            10,
            10,
        ]


def expert(ctx: Context, cfg: mtt.Config, number: int) -> Tensor:
    return expert_trajectory(ctx, ctx.dataset, ctx.group(StudentConfig), cfg, number)


def test_an_expert_is_the_training_it_says(context: MakeContext) -> None:
    ctx = context(*WORDS)
    cfg = mtt.Config(
        **{**SMALL, "train_epochs": 2, "max_start_epoch": 1, "augment": False, "batch_real": 2000}
    )
    walk = expert(ctx, cfg, 0)
    net = models.for_data(ctx.group(StudentConfig), ctx.dataset)
    network, theta = FlatNetwork(net), walk[0].clone().requires_grad_()
    everything = torch.arange(len(ctx.dataset.train))
    images, labels = ctx.dataset.train.images(everything), ctx.dataset.train.labels
    g = network.gradient(theta, images, labels) / len(images)
    torch.testing.assert_close(walk[1], walk[0] - cfg.lr_expert * g, rtol=1e-4, atol=1e-6)
    assert walk.shape == (3, theta.numel())
    assert not torch.equal(walk[1], walk[2])


def test_experts_differ_from_one_another_and_not_between_seeds(context: MakeContext) -> None:
    cfg = mtt.Config(**SMALL)
    first, second = (expert(context(*WORDS), cfg, number) for number in range(2))
    again = expert(context(*WORDS, "seed=3"), cfg, 0)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first, again)
