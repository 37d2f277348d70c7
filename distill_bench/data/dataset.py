"""A data set, ready to use: both splits on the device behind one face, with its transform and its
fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from distill_bench.data import sources
from distill_bench.data.decode import Shape, decode_all
from distill_bench.data.download import download
from distill_bench.data.found import Found, Images
from distill_bench.data.listing import FileList
from distill_bench.data.locate import Layout, locate
from distill_bench.data.normalise import Normalise, pixel_statistics
from distill_bench.data.split import ResidentSplit, Split
from distill_bench.data.streamed import StreamedSplit
from distill_bench.data.whiten import EPSILON, Whiten, fit_zca
from distill_bench.errors import UserError, require
from distill_bench.groups import DatasetConfig
from distill_bench.progress import progress_bar
from distill_bench.seeding import generator
from distill_bench.store import Cache, content_key

__all__ = ["ImageDataset", "load"]

DECODER = 1  # raised when decoding changes its pixels, so that cached ones are made anew


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Images (channels x resolution x resolution) of `num_classes` classes, in two parts with one face.

    `fingerprint` follows from everything that networks see: pixels, labels, the split, and the normalisation
    (streamed files count by name and size). `augmentation`: families that keep the labels (`DatasetConfig`).
    """

    name: str
    num_classes: int
    class_names: list[str]
    channels: int
    resolution: int
    augmentation: str
    fingerprint: str
    transform: Normalise | Whiten
    train: Split
    test: Split


def load(
    config: DatasetConfig, data_root: Path, cache: Cache, device: torch.device, seed: int = 0
) -> ImageDataset:
    """Read (first download, if absent) the data set of `config`, and put it on `device`.

    Folders of images are decoded once, into `cache`; then, or if they are streamed, nothing is decoded here.
    `seed` changes the permutation of `shuffled_labels`, nothing else. Raises UserError, one line, naming the
    file, folder or key that is wrong.
    """
    location = locate(config, data_root)
    if location.layout is Layout.absent:
        location = download(config, data_root)
    found = _chosen(getattr(sources, config.source)(location), config)
    shape = Shape(config.channels, config.resolution, found.side)
    if not config.streamed:
        found = _decoded(found, shape, cache, config.name)
    train_labels, test_labels = _labels(found, config, seed)
    content = {
        "pixels": [found.train.digest, found.test.digest],
        "labels": [hashlib.sha256(part.numpy().data).hexdigest() for part in (train_labels, test_labels)],
        "shape": [config.channels, config.resolution],
    }
    transform, seen = _transform(config, found.train, shape, cache, device)

    def split(part: Images | FileList, labels: torch.Tensor) -> Split:
        labels, classes = labels.to(device), len(found.class_names)
        if isinstance(part, Images):
            return ResidentSplit(part.images.to(device), labels, classes, transform)
        return StreamedSplit(part, labels, classes, transform, shape)

    return ImageDataset(
        name=config.name,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        channels=config.channels,
        resolution=config.resolution,
        augmentation=config.augmentation,
        fingerprint=content_key({**content, "transform": seen}),
        transform=transform,
        train=split(found.train, train_labels),
        test=split(found.test, test_labels),
    )


def _chosen(found: Found, config: DatasetConfig) -> Found:
    """The classes that are asked for, after the classes that are there are checked."""
    there, classes = len(found.class_names), config.classes
    fits = config.num_classes in (0, there)
    require(
        fits,
        "dataset.num_classes",
        config.num_classes,
        f"{there}, the classes of dataset={config.name}, or 0",
    )
    require(all(0 <= k < there for k in classes), "dataset.classes", classes, f"from 0 to {there - 1}")
    if not classes:
        return found
    names = [found.class_names[k] for k in classes]
    return replace(found, train=found.train.only(classes), test=found.test.only(classes), class_names=names)


def _decoded(found: Found, shape: Shape, cache: Cache, name: str) -> Found:
    """Image files as decoded images, from the cache if they were decoded before."""

    def images(part: Images | FileList, split: str) -> Images:
        if isinstance(part, Images):
            return part

        def make() -> dict[str, torch.Tensor | str]:
            pixels = torch.from_numpy(decode_all(f"decode {split}", part.paths(range(len(part))), shape))
            return {"pixels": pixels, "digest": Images(pixels, torch.empty(0)).digest}

        parts = {"decoder": DECODER, "files": part.digest, "shape": [shape.channels, shape.side]}
        saved = cache.get("images", {"dataset": name, "split": split, **parts}, make)
        return Images(saved["pixels"], torch.tensor(part.labels), known=saved["digest"])

    return replace(found, train=images(found.train, "train"), test=images(found.test, "test"))


def _labels(found: Found, config: DatasetConfig, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of both parts; UserError for a class of which images are missing."""
    train, test = (torch.as_tensor(part.labels) for part in (found.train, found.test))
    classes = len(found.class_names)
    for part, labels, least in (("training", train, max(1, config.smallest_class)), ("test", test, 1)):
        count, k = (int(v) for v in labels.bincount(minlength=classes).min(0))
        if count < least:
            missing = f"class {found.class_names[k]} has {count} {part} images, not {least}"
            raise UserError(f"dataset={config.name}: {missing}; are all its files there?")
    if config.shuffled_labels:
        train = train[torch.randperm(len(train), generator=generator(seed, "shuffled labels"))]
    return train, test


def _transform(
    config: DatasetConfig, train: Images | FileList, shape: Shape, cache: Cache, device: torch.device
) -> tuple[Normalise | Whiten, dict[str, object]]:
    """Whitening fitted on the training images, or normalisation; and what the fingerprint says about it."""
    if config.zca:
        assert isinstance(train, Images)  # the config refuses to whiten a streamed data set
        fitted = cache.get("zca", {"epsilon": EPSILON, "pixels": train.digest}, lambda: fit_zca(train.images))
        matrices = {name: tensor.to(device) for name, tensor in fitted.items()}
        return Whiten(**matrices), {"zca": EPSILON}
    mean, std = (config.mean, config.std) if config.mean else _statistics(train, shape, cache)
    if min(std) <= 0:
        raise UserError(
            f"dataset={config.name}: a channel is constant over all training images; give dataset.std"
        )
    return Normalise(mean, std, device), {"mean": mean, "std": std}


def _statistics(train: Images | FileList, shape: Shape, cache: Cache) -> tuple[list[float], list[float]]:
    """Mean and standard deviation over all training pixels; of files that are streamed, from the cache."""
    if isinstance(train, Images):
        return pixel_statistics(train.images.split(1024))
    parts = {"decoder": DECODER, "files": train.digest, "shape": [shape.channels, shape.side]}
    saved = cache.get("statistics", parts, lambda: _streamed_statistics(train, shape))
    return saved["mean"], saved["std"]


def _streamed_statistics(train: FileList, shape: Shape) -> dict[str, list[float]]:
    split = StreamedSplit(
        train, torch.tensor(train.labels), max(train.labels) + 1, Normalise([0], [1]), shape
    )

    def chunks() -> Iterator[torch.Tensor]:
        with progress_bar("statistics", len(train)) as bar:
            done = 0
            for chunk in split.pixels(256):
                yield chunk
                done += len(chunk)
                bar.update(done)

    mean, std = pixel_statistics(chunks())
    return {"mean": mean, "std": std}
