"""Laws of DC, and small real experiments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch

from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.interrupt import Interrupted
from distill_bench.matching.settings import GradientDistance, Init
from distill_bench.methods.dataset_distillation import dc, dsa
from distill_bench.planning import Plan

MakeContext = Callable[..., Context]
RunCell = Callable[..., dict[str, Any]]
WORDS = ["method=dc", "dataset=digits", "ipc=2", "profile=smoke"]
SMALL: dict[str, Any] = {"iterations": 3, "batch_real": 8, "outer_loops": 2, "inner_epochs": 2}


def test_a_run_leaves_labels_in_order_and_images_finite(context: MakeContext) -> None:
    product = dc.run(context(*WORDS), dc.Config(**SMALL))
    assert product.labels.tolist() == [k for k in range(10) for _ in range(2)]
    assert product.images.shape == (20, 1, 8, 8)
    assert product.images.isfinite().all()


def test_the_product_follows_from_the_seed_alone(context: MakeContext) -> None:
    products = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        ctx = context(*WORDS, f"data_root=elsewhere{seed}")
        ctx.checkpoints.forget()
        products.append(dc.run(ctx, dc.Config(**SMALL)).images)
    assert torch.equal(*products)


def test_interrupted_and_resumed_equals_uninterrupted(context: MakeContext) -> None:
    whole = dc.run(context(*WORDS, "seed=1"), dc.Config(**SMALL)).images
    ctx = context(*WORDS, "seed=1", "method.lr_net=0.02")  # another folder
    steps = ctx.loop

    def stopping(name: str, total: int, state: dict[str, Any]) -> Any:
        for step in steps(name, total, state):
            ctx.interrupt.requested = step == 1
            yield step

    ctx.loop = stopping  # type: ignore[method-assign, assignment]
    with pytest.raises(Interrupted):
        dc.run(ctx, dc.Config(**SMALL))
    ctx.interrupt.requested, ctx.loop = False, steps  # type: ignore[method-assign]
    assert torch.equal(dc.run(ctx, dc.Config(**SMALL)).images, whole)


@pytest.mark.parametrize("student", ["convnet", "convnet_bn"])
@pytest.mark.parametrize("distance", list(GradientDistance))
def test_every_distance_and_norm_moves_the_images(
    context: MakeContext, distance: GradientDistance, student: str
) -> None:
    ctx = context(*WORDS, f"student={student}")
    start = dc.run(ctx, dc.Config(iterations=0)).images
    ctx.checkpoints.forget()
    moved = dc.run(ctx, dc.Config(**{**SMALL, "iterations": 2}, distance=distance)).images
    assert moved.isfinite().all()
    assert not torch.equal(moved, start)


def test_the_loss_falls_from_noise(context: MakeContext) -> None:
    ctx = context("method=dc", "dataset=digits", "ipc=1", "student.width=16", "profile=smoke")
    ctx.log_every = 1
    dc.run(ctx, dc.Config(iterations=40, batch_real=64, lr_image=1.0))
    losses = [point["loss"] for point in ctx.tracker.points()]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize(
    "wrong", [{"lr_image": 0}, {"momentum_image": 1}, {"outer_loops": 0}, {"iterations": -1}]
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        dc.Config(**wrong)


def accuracy(run_cell: RunCell, *more: str) -> float:
    words = [
        "dataset=digits",
        "ipc=1",
        "student.width=16",
        "protocol.augment=false",
        "protocol.epochs=120",
        "protocol.nets=3",
    ]
    values = run_cell(*words, *more)["measures"][0]["values"]
    return sum(values) / len(values)


@pytest.mark.slow
def test_on_digits_it_beats_random_selection(run_cell: RunCell) -> None:
    distil = ["method=dc", "method.iterations=120", "method.batch_real=64", "method.lr_image=1"]
    random_selection = sum(accuracy(run_cell, "method=random", f"seed={seed}") for seed in range(3)) / 3
    ours = accuracy(run_cell, *distil)
    assert ours > random_selection + 8
    assert ours > accuracy(run_cell, *distil, "dataset.shuffled_labels=true") + 30


def test_dc_and_dsa_have_the_same_fields_and_differ_in_two_values() -> None:
    ours, theirs = asdict(dc.Config()), asdict(dsa.Config())
    assert list(ours) == list(theirs)
    assert {key for key in ours if ours[key] != theirs[key]} == {"name", "init", "augment"}
    assert dc.Config().init is Init.noise and dsa.Config().init is Init.real
    assert dsa.Config().augment and not dc.Config().augment


@pytest.mark.parametrize("method", ["dm", "datadam", "atom", "dc", "dsa", "mtt"])
def test_only_a_start_from_a_coreset_depends_on_the_protocol(plan: Callable[..., Plan], method: str) -> None:
    for init, uses in (("real", False), ("herding", True)):
        words = (f"method={method}", "dataset=digits", f"method.init={init}")
        assert ("protocol" in plan(*words).product.uses) is uses
