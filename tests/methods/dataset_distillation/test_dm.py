"""Laws of DM: the loss, its gradient, and the loop shared with DataDAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from distill_bench import models
from distill_bench.context import Context
from distill_bench.groups import StudentConfig
from distill_bench.matching.distribution import _class_means, _real_means, class_mean_loss
from distill_bench.matching.settings import Init
from distill_bench.methods.dataset_distillation import dm

WORDS = ["method=dm", "dataset=digits", "ipc=2", "profile=smoke"]
MakeContext = Callable[..., Context]


@pytest.fixture
def ctx(context: MakeContext) -> Context:
    return context(*WORDS)


@pytest.fixture
def net(ctx: Context) -> Any:
    data = ctx.dataset
    built = models.build(
        ctx.group(StudentConfig), channels=1, num_classes=10, resolution=data.resolution
    ).double()
    return built.requires_grad_(False)


def images(ctx: Context, per_class: int, seed: int = 0) -> torch.Tensor:
    indices = ctx.dataset.train.sample_per_class(per_class, torch.Generator().manual_seed(seed))
    return ctx.dataset.train.images(indices.flatten()).unflatten(0, indices.shape).double()


def loss_of(net: Any, real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    return class_mean_loss(*(_class_means(net, dm.statistics, x) for x in (real, synthetic)))


def test_equal_images_give_no_loss_and_no_gradient(ctx: Context, net: Any) -> None:
    real = images(ctx, 3)
    synthetic = real.clone().requires_grad_()
    loss = loss_of(net, real, synthetic)
    loss.backward()
    assert float(loss.detach()) < 1e-10
    assert synthetic.grad is not None
    assert float(synthetic.grad.abs().max()) < 1e-10


def test_the_batched_loss_and_gradient_equal_a_loop_over_classes(ctx: Context, net: Any) -> None:
    real = images(ctx, 4)
    batched, looped = (images(ctx, 2, seed=1).requires_grad_() for _ in range(2))
    loss = loss_of(net, real, batched)
    loss.backward()
    total = torch.zeros((), dtype=torch.float64)
    for k in range(10):
        mean_real = net(real[k], features=True).embedding.mean(0)
        mean_synthetic = net(looped[k], features=True).embedding.mean(0)
        total = total + ((mean_real - mean_synthetic) ** 2).sum()
    total.backward()
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(batched.grad, looped.grad)


def test_repeating_every_synthetic_image_leaves_the_loss_and_shares_the_gradient(
    ctx: Context, net: Any
) -> None:
    real, once = images(ctx, 4), images(ctx, 2, seed=1).requires_grad_()
    twice = once.detach().repeat_interleave(3, dim=1).requires_grad_()
    loss, repeated = loss_of(net, real, once), loss_of(net, real, twice)
    torch.testing.assert_close(loss, repeated)
    loss.backward()
    repeated.backward()
    assert once.grad is not None
    assert twice.grad is not None
    torch.testing.assert_close(twice.grad, once.grad.repeat_interleave(3, dim=1) / 3)


def test_a_linear_encoder_has_the_closed_form_gradient() -> None:
    weight = torch.randn(5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Linear:
        def __call__(self, x: torch.Tensor, features: bool) -> Any:
            assert features
            return type("F", (), {"embedding": x.flatten(1) @ weight.T, "maps": []})

    draws = torch.Generator().manual_seed(1)
    real = torch.randn(3, 7, 1, 4, 4, generator=draws, dtype=torch.float64)
    synthetic = torch.randn(3, 2, 1, 4, 4, generator=draws, dtype=torch.float64).requires_grad_()
    loss_of(Linear(), real, synthetic).backward()
    difference = (synthetic.detach().mean(1) - real.mean(1)).flatten(1)
    expected = (2 / 2) * difference @ weight.T @ weight
    assert synthetic.grad is not None
    torch.testing.assert_close(synthetic.grad.flatten(2), expected[:, None].expand(-1, 2, -1))


def test_the_loss_does_not_depend_on_the_order_of_classes(ctx: Context, net: Any) -> None:
    real, synthetic = images(ctx, 4), images(ctx, 2, seed=1)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(loss_of(net, real[order], synthetic[order]), loss_of(net, real, synthetic))


def test_real_images_in_chunks_of_classes_give_the_same_means(ctx: Context) -> None:
    net = models.build(ctx.group(StudentConfig), channels=1, num_classes=10, resolution=8)
    indices = ctx.dataset.train.sample_per_class(5, torch.Generator().manual_seed(0))

    def means(chunk: int) -> list[Any]:
        same = lambda x, rows: x  # noqa: ARG005, E731
        return _real_means(ctx.dataset.train, net, dm.statistics, indices, same, chunk)

    for (_, whole), (_, parts) in zip(means(10), means(3), strict=True):
        torch.testing.assert_close(whole, parts)


def test_a_run_leaves_labels_in_order_and_images_finite(ctx: Context) -> None:
    product = dm.run(ctx, dm.Config(iterations=3, batch_real=8))
    assert product.labels.tolist() == [k for k in range(10) for _ in range(2)]
    assert product.images.shape == (20, 1, 8, 8)
    assert product.images.isfinite().all()


def test_the_product_does_not_depend_on_the_wall_clock_or_the_global_generator(context: MakeContext) -> None:
    products = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        ctx = context(*WORDS, f"data_root=elsewhere{seed}")
        ctx.checkpoints.forget()
        products.append(dm.run(ctx, dm.Config(iterations=5, batch_real=8)).images)
    assert torch.equal(*products)


def test_the_loss_falls_by_half_from_noise(context: MakeContext) -> None:
    ctx = context("method=dm", "dataset=digits", "ipc=1", "student.width=16", "profile=smoke")
    cfg = dm.Config(iterations=60, batch_real=64, init=Init.noise, augment=False)
    ctx.log_every = 1
    dm.run(ctx, cfg)
    losses = [point["loss"] for point in ctx.tracker.points()]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
