"""Random selection: real, distinct, and what the other methods start from."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distill_bench.context import Context
from distill_bench.methods.dataset_distillation import dm, random
from distill_bench.planning import Plan

WORDS = ["dataset=digits", "ipc=5", "profile=smoke"]


def test_selected_images_are_real_of_their_class_and_distinct(context: Callable[..., Context]) -> None:
    ctx = context("method=random", *WORDS)
    product = random.run(ctx, random.Config())
    train = ctx.dataset.train
    whole = train.images(torch.arange(len(train))).flatten(1)
    equal = (product.inputs().flatten(1)[:, None] == whole[None]).all(2)
    assert product.images.dtype == torch.uint8
    assert equal.any(1).all()
    assert torch.equal(train.labels[equal.int().argmax(1)], product.labels)
    assert len(product.images.flatten(1).unique(dim=0)) == 50


def test_it_is_what_dm_starts_from_under_the_same_seed(context: Callable[..., Context]) -> None:
    product = random.run(context("method=random", *WORDS), random.Config())
    start = dm.run(context("method=dm", *WORDS), dm.Config(iterations=0))
    assert torch.equal(product.inputs(), start.images)


def test_the_product_depends_on_no_network(plan: Callable[..., Plan]) -> None:
    one, other = (plan("method=random", *WORDS, *more).product for more in ((), ("student.width=9",)))
    assert one.product_id == other.product_id
    assert one.uses == ("dataset", "ipc")
