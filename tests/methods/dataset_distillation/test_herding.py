"""Herding on real images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from distill_bench.contract import Context
from distill_bench.groups import FeatureSource
from distill_bench.methods.dataset_distillation import herding

WORDS = ["method=herding", "dataset=digits", "profile=smoke"]


def test_one_image_is_the_nearest_to_the_mean_of_its_class(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS, "ipc=1")
    product = herding.run(ctx, herding.Config(features=FeatureSource.pixels))
    train = ctx.dataset.train
    for k in range(10):
        members = train.images((train.labels == k).nonzero()[:, 0])
        nearest = (members - members.mean(0)).flatten(1).norm(dim=1).argmin()
        torch.testing.assert_close(product.images[k], members[nearest])


def test_five_images_begin_with_the_one(context: Callable[..., Context]) -> None:
    one, five = (
        herding.run(context(*WORDS, f"ipc={k}"), herding.Config(features=FeatureSource.pixels)).images
        for k in (1, 5)
    )
    assert torch.equal(five[::5], one)


def test_trained_features_are_made_once_for_all_sizes(
    context: Callable[..., Context], tmp_path: Path
) -> None:
    herding.run(context(*WORDS, "ipc=1"), herding.Config())
    (made,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    before = made.stat().st_mtime_ns
    herding.run(context(*WORDS, "ipc=5"), herding.Config())
    assert [file.stat().st_mtime_ns for file in (tmp_path / "cache" / "features").glob("*.safetensors")] == [
        before
    ]
