"""Laws of MTT, and a small real experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.methods.dataset_distillation import mtt

MakeContext = Callable[..., Context]
RunCell = Callable[..., dict[str, Any]]
WORDS = ["method=mtt", "dataset=digits", "ipc=1", "profile=smoke"]
SMALL: dict[str, Any] = {
    "iterations": 3,
    "experts": 2,
    "train_epochs": 3,
    "max_start_epoch": 2,
    "syn_steps": 3,
    "lr_image": 10.0,
}


def test_a_run_learns_images_and_a_rate(context: MakeContext) -> None:
    product = mtt.run(context(*WORDS), mtt.Config(**SMALL, lr_alpha=1e-3))
    start = mtt.run(context(*WORDS, "method.iterations=0"), mtt.Config(**{**SMALL, "iterations": 0}))
    assert product.labels.tolist() == list(range(10))
    assert product.images.isfinite().all()
    assert not torch.equal(product.images, start.images)
    assert start.lr == pytest.approx(0.01)
    assert product.lr is not None
    assert product.lr > 0
    assert product.lr != pytest.approx(0.01, rel=1e-6)


def test_a_rate_that_may_not_change_stays(context: MakeContext) -> None:
    product = mtt.run(context(*WORDS), mtt.Config(**SMALL, lr_alpha=0.0))
    assert product.lr == pytest.approx(0.01)


@pytest.mark.parametrize("least", [1e-6, 4e-3])
def test_a_rate_that_is_carried_below_zero_stays_at_its_least_value(
    context: MakeContext, least: float
) -> None:
    """Steps of a rate of 5 overshoot, so less is better; one step of 1e6 times the gradient is too far."""
    wild = {**SMALL, "iterations": 1, "alpha0": 5.0, "lr_alpha": 1e6}
    assert mtt.run(context(*WORDS), mtt.Config(**wild, alpha_min=least)).lr == pytest.approx(least)


def test_the_least_rate_is_not_above_the_first() -> None:
    with pytest.raises(UserError, match=r"method\.alpha_min=0\.02"):
        mtt.Config(alpha_min=0.02, alpha0=0.01)


def test_the_product_follows_from_the_seed_alone(context: MakeContext) -> None:
    products = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        ctx = context(*WORDS)
        ctx.checkpoints.forget()
        products.append(mtt.run(ctx, mtt.Config(**SMALL, batch_syn=4)).images)
    assert torch.equal(*products)


def test_experts_must_reach_as_far_as_they_are_looked_at() -> None:
    with pytest.raises(UserError, match="train_epochs"):
        mtt.Config(train_epochs=20)
    assert mtt.Config(train_epochs=21).train_epochs == 21


def test_published_cells_are_chosen_by_data_set_and_ipc(plan: Callable[..., Any]) -> None:
    published = plan("method=mtt", "dataset=cifar100", "ipc=50").product.config
    assert (published.syn_steps, published.batch_syn, published.max_start_epoch) == (80, 125, 40)
    assert plan("method=mtt", "dataset=cifar10", "ipc=10").product.groups["dataset"].zca
    assert not plan("method=mtt", "dataset=cifar10", "ipc=50").product.groups["dataset"].zca


@pytest.mark.slow
def test_on_digits_it_beats_random_selection(run_cell: RunCell) -> None:
    words = [
        "dataset=digits",
        "ipc=1",
        "student.width=16",
        "protocol.augment=false",
        "protocol.epochs=120",
        "protocol.nets=3",
    ]
    distil = [
        "method=mtt",
        "method.iterations=50",
        "method.experts=2",
        "method.train_epochs=10",
        "method.max_start_epoch=4",
        "method.syn_steps=10",
        "method.augment=false",
        "method.batch_real=64",
        "method.lr_image=100",
        "method.lr_alpha=1e-4",
        "method.alpha0=0.02",
    ]

    def accuracy(*more: str) -> float:
        values = run_cell(*words, *more)["measures"][0]["values"]
        return sum(values) / len(values)

    random_selection = sum(accuracy("method=random", f"seed={seed}") for seed in range(3)) / 3
    assert accuracy(*distil) > random_selection + 5
