"""Laws of DSA that DC does not already keep for it, and a small real experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from distill_bench.context import Context
from distill_bench.methods.dataset_distillation import dc, dsa

MakeContext = Callable[..., Context]
WORDS = ["method=dsa", "dataset=digits", "ipc=2", "profile=smoke"]
SMALL: dict[str, Any] = {"iterations": 3, "batch_real": 8, "outer_loops": 2, "inner_epochs": 2}


def test_without_augmentation_it_is_dc(context: MakeContext) -> None:
    ours = dsa.run(context(*WORDS), dsa.Config(**SMALL, augment=False)).images
    theirs = dc.run(context("method=dc", *WORDS[1:]), dc.Config(**SMALL, init=dsa.Config().init)).images
    assert torch.equal(ours, theirs)


def test_the_augmentation_changes_the_images_that_come_out(context: MakeContext) -> None:
    ours = dsa.run(context(*WORDS), dsa.Config(**SMALL)).images
    theirs = dsa.run(
        context(*WORDS, "seed=0", "method.augment=false"), dsa.Config(**SMALL, augment=False)
    ).images
    assert ours.isfinite().all()
    assert not torch.equal(ours, theirs)


def test_without_iterations_the_images_are_real(context: MakeContext) -> None:
    ctx = context(*WORDS)
    product = dsa.run(ctx, dsa.Config(iterations=0))
    train = ctx.dataset.train
    real = train.images(torch.arange(len(train))).flatten(1)
    distances = torch.cdist(product.images.flatten(1), real)
    nearest = distances.min(1)
    assert float(nearest.values.max()) < 1e-2
    assert torch.equal(train.labels[nearest.indices], product.labels)


def test_on_digits_it_beats_random_selection(run_cell: Callable[..., dict[str, Any]]) -> None:
    words = ["dataset=digits", "ipc=1", "student.width=16", "protocol.epochs=120", "protocol.nets=3"]

    def accuracy(*more: str) -> float:
        values = run_cell(*words, *more)["measures"][0]["values"]
        return sum(values) / len(values)

    random_selection = sum(accuracy("method=random", f"seed={seed}") for seed in range(3)) / 3
    distil = ["method=dsa", "method.iterations=60", "method.batch_real=64", "method.lr_image=1"]
    assert accuracy(*distil) > random_selection + 8
