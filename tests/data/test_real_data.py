"""What the configs say of the real data sets is true of them (skipped where they are not on this machine)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill_bench import data
from distill_bench.data.locate import Layout, locate
from distill_bench.groups import Statistics
from tests.data.pictures import CPU, DATA_ROOT, named_config, on_disk

QUICK = ["digits", "fashion_mnist"]
SLOW = ["cifar10", "cifar100", "tinyimagenet", "imagenette", "imagewoof"]
ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all tests here, so that each data set is decoded once."""
    return tmp_path_factory.mktemp("real")


def load(name: str, root: Path) -> data.ImageDataset:
    from distill_bench.store import Cache

    return data.load(on_disk(name), DATA_ROOT, Cache(root / "cache"), CPU)


@pytest.mark.parametrize("name", ALL)
def test_the_smallest_class_is_as_its_config_says(name: str, shared: Path) -> None:
    dataset = load(name, shared)
    assert named_config(name).smallest_class in (0, dataset.train.smallest_class)


@pytest.mark.parametrize("name", ALL)
def test_mean_and_deviation_are_what_the_config_says_they_are(name: str, shared: Path) -> None:
    config = on_disk(name)
    if config.statistics is Statistics.imagenet:
        assert (config.mean, config.std) == IMAGENET
        return
    train = load(name, shared).train
    of = data.per_image_statistics if config.statistics is Statistics.per_image else data.pixel_statistics
    mean, std = of(train.pixels(1024))
    encoded = (
        locate(config, DATA_ROOT).layout is Layout.split_folders
    )  # JPEG copies smooth the images a little
    tolerance = 2.5e-3 if encoded else 2e-4
    torch.testing.assert_close(torch.tensor(config.mean), torch.tensor(mean), atol=tolerance, rtol=0)
    torch.testing.assert_close(torch.tensor(config.std), torch.tensor(std), atol=tolerance, rtol=0)


@pytest.mark.slow
def test_the_usual_deviation_of_cifar10_is_not_that_of_its_pixels(shared: Path) -> None:
    _, std = data.pixel_statistics(load("cifar10", shared).train.pixels(1024))
    assert min(pixel - usual for pixel, usual in zip(std, on_disk("cifar10").std, strict=True)) > 0.03


SIZES = {
    "digits": (1200, 597),
    "fashion_mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "tinyimagenet": (100_000, 10_000),
}


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in list(SIZES)[2:])]
)
def test_the_parts_have_their_published_sizes(name: str, shared: Path) -> None:
    dataset = load(name, shared)
    assert (len(dataset.train), len(dataset.test)) == SIZES[name]
