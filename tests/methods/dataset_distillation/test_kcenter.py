"""K-center on real images."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distill_bench.context import Context
from distill_bench.matching.settings import FeatureSource
from distill_bench.methods.dataset_distillation import kcenter, random

WORDS = ["dataset=digits", "ipc=10", "profile=smoke"]


def radius(ctx: Context, images: torch.Tensor) -> float:
    """The largest distance of a training image from the nearest chosen image of its class, mean over
    classes."""
    train = ctx.dataset.train
    centres = images.flatten(1).unflatten(0, (10, -1))
    members = [train.images((train.labels == k).nonzero()[:, 0]).flatten(1) for k in range(10)]
    return sum(float(torch.cdist(m, c).amin(1).max()) for m, c in zip(members, centres, strict=True)) / 10


def test_it_covers_the_classes_better_than_random_selection(context: Callable[..., Context]) -> None:
    ctx = context("method=kcenter", *WORDS)
    ours = kcenter.run(ctx, kcenter.Config(features=FeatureSource.pixels)).inputs()
    theirs = random.run(context("method=random", *WORDS), random.Config()).inputs()
    assert radius(ctx, ours) < radius(ctx, theirs)
