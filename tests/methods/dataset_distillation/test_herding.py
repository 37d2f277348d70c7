"""Herding on real images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from distill_bench import matching
from distill_bench.context import Context
from distill_bench.groups import ProtocolConfig, StudentConfig
from distill_bench.matching.settings import FeatureSource
from distill_bench.methods.dataset_distillation import herding
from distill_bench.planning import Plan

WORDS = ["method=herding", "dataset=digits", "profile=smoke"]


def test_one_image_is_the_nearest_to_the_mean_of_its_class(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS, "ipc=1")
    product = herding.run(ctx, herding.Config(features=FeatureSource.pixels))
    train = ctx.dataset.train
    for k in range(10):
        members = train.images((train.labels == k).nonzero()[:, 0])
        nearest = (members - members.mean(0)).flatten(1).norm(dim=1).argmin()
        torch.testing.assert_close(product.inputs()[k], members[nearest])


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
    (file,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    before = file.stat().st_mtime_ns
    herding.run(context(*WORDS, "ipc=5"), herding.Config())
    assert [file.stat().st_mtime_ns for file in (tmp_path / "cache" / "features").glob("*.safetensors")] == [
        before
    ]


def test_the_product_depends_on_what_its_features_are_trained_with_and_on_nothing_else(
    plan: Callable[..., Plan],
) -> None:
    def name(*words: str) -> str:
        return plan("method=herding", "dataset=digits", *words).product.product_id

    trained = name()
    assert name("protocol.full_steps=300") != trained
    assert name("protocol.nets=9", "protocol.audit=true") == trained
    assert name("student.width=9") != trained
    pixels = name("method.features=pixels")
    assert name("method.features=pixels", "protocol.full_steps=300", "student.width=9") == pixels


def test_random_features_follow_from_the_seed(context: Callable[..., Context]) -> None:
    """Those of the first seed were once served to every other."""
    first, second = (context(*WORDS, "ipc=1", f"seed={seed}") for seed in (0, 1))
    features = [
        matching.coreset_features(
            ctx, ctx.dataset, FeatureSource.random, ctx.group(StudentConfig), ctx.group(ProtocolConfig)
        )
        for ctx in (first, second)
    ]
    assert not torch.equal(*features)
