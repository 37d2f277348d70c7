"""A data set, ready to use: both splits on the device behind one face, its transform and its fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from distill_bench.data import sources
from distill_bench.data.decode import DECODER, Shape, decode_all
from distill_bench.data.download import download
from distill_bench.data.listing import FileList
from distill_bench.data.locate import Layout, locate
from distill_bench.data.normalise import Normalise, pixel_statistics
from distill_bench.data.source_images import Images, SourceImages
from distill_bench.data.split import ResidentSplit, Split
from distill_bench.data.streamed import StreamedSplit
from distill_bench.data.whiten import EPSILON, Whiten, fit_zca
from distill_bench.errors import UserError, require
from distill_bench.groups import DatasetConfig
from distill_bench.progress import progress_bar
from distill_bench.seeding import generator
from distill_bench.store import Cache, content_key

__all__ = ["ImageDataset", "load"]


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Images (channels x resolution x resolution) of `num_classes` classes, in two parts with one face.

    `pixel_fingerprint` follows from pixels, labels, the split and the shape: whatever is learned from pixels
    in [0, 1] is cached by it. `fingerprint` follows from these and the transform: whatever is learned from
    transformed images is cached by it. For both, streamed files count by name and size.
    `augmentation`: families that keep the labels (`DatasetConfig`).
    """

    name: str
    num_classes: int
    class_names: list[str]
    channels: int
    resolution: int
    augmentation: str
    fingerprint: str
    pixel_fingerprint: str
    transform: Normalise | Whiten
    train: Split
    test: Split


def load(
    config: DatasetConfig, data_root: Path, cache: Cache, device: torch.device, seed: int = 0
) -> ImageDataset:
    """Read (first download, if absent) the data set of `config`, and put it on `device`.

    Folders of images are decoded into `cache`, and again only after a file was written; streamed images are
    decoded when they are asked for. `seed` changes the permutation of `shuffled_labels`, nothing else. Raises
    UserError, one line, naming the file, folder or key that is wrong.
    """
    location = locate(config, data_root)
    if location.layout is Layout.absent:
        location = download(config, data_root)
    source = _selection(getattr(sources, config.source)(location), config)
    shape = Shape(config.channels, config.resolution, source.side)
    source = _decoded(source, shape, cache, config)
    train_labels, test_labels = _labels(source, config, seed)
    content = {
        "pixels": [source.train.digest, source.test.digest],
        "labels": [hashlib.sha256(part.numpy().data).hexdigest() for part in (train_labels, test_labels)],
        "shape": [config.channels, config.resolution],
    }
    transform, description = _transform(config, source.train, shape, cache, device)

    def split(part: Images | FileList, labels: torch.Tensor) -> Split:
        labels, classes = labels.to(device), len(source.class_names)
        if isinstance(part, Images):
            return ResidentSplit(part.images.to(device), labels, classes, transform)
        return StreamedSplit(part, labels, classes, transform, shape)

    return ImageDataset(
        name=config.name,
        num_classes=len(source.class_names),
        class_names=source.class_names,
        channels=config.channels,
        resolution=config.resolution,
        augmentation=config.augmentation,
        fingerprint=content_key({**content, "transform": description}),
        pixel_fingerprint=content_key(content),
        transform=transform,
        train=split(source.train, train_labels),
        test=split(source.test, test_labels),
    )


def _selection(source: SourceImages, config: DatasetConfig) -> SourceImages:
    """The classes of `config.classes`, after their number is checked."""
    count, classes = len(source.class_names), config.classes
    allowed = f"{count}, the classes of dataset={config.name}, or 0"
    require(config.num_classes in (0, count), "dataset.num_classes", config.num_classes, allowed)
    require(all(0 <= k < count for k in classes), "dataset.classes", classes, f"from 0 to {count - 1}")
    if count < 2:
        raise UserError(f"dataset={config.name}: holds one class; a classifier needs two")
    if not classes:
        return source
    names = [source.class_names[k] for k in classes]
    return replace(
        source, train=source.train.only(classes), test=source.test.only(classes), class_names=names
    )


def _scaled(part: Images, side: int) -> Images:
    """Images of `side` pixels a side: bilinear, antialiased and rounded, as image files are scaled."""
    if part.images.shape[-1] == side:
        return part
    smaller = F.interpolate(part.images.float(), size=(side, side), mode="bilinear", antialias=True)
    return replace(part, images=smaller.round().clamp(0, 255).to(torch.uint8))


def _decoded(source: SourceImages, shape: Shape, cache: Cache, config: DatasetConfig) -> SourceImages:
    """Images of `shape.side` pixels; files are decoded, or read from the cache, unless they are streamed."""

    def images(part: Images | FileList, split: str) -> Images | FileList:
        if isinstance(part, Images):
            return _scaled(part, shape.side)
        if config.streamed:
            return part

        def make() -> dict[str, torch.Tensor | str]:
            pixels = torch.from_numpy(decode_all(f"decode {split}", part.paths(range(len(part))), shape))
            return {"pixels": pixels, "digest": Images(pixels, torch.empty(0)).digest}

        parts = {"dataset": config.name, "split": split, **_decoding(part, shape)}
        content = cache.get("images", parts, make)
        return Images(content["pixels"], torch.tensor(part.labels), saved_digest=content["digest"])

    return replace(source, train=images(source.train, "train"), test=images(source.test, "test"))


def _decoding(files: FileList, shape: Shape) -> dict[str, object]:
    """What the decoded pixels of `files` follow from, for the keys of the cache."""
    return {"decoder": DECODER, "files": files.stamp, "shape": [shape.channels, shape.side]}


def _labels(source: SourceImages, config: DatasetConfig, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of both parts; UserError for a class of which images are missing."""
    train, test = (torch.as_tensor(part.labels) for part in (source.train, source.test))
    classes = len(source.class_names)
    for part, labels, least in (("training", train, max(1, config.smallest_class)), ("test", test, 1)):
        count, k = (int(v) for v in labels.bincount(minlength=classes).min(0))
        if count < least:
            shortage = f"class {source.class_names[k]} has {count} {part} images, not {least}"
            raise UserError(f"dataset={config.name}: {shortage}; are all its files there?")
    if config.shuffled_labels:
        train = train[torch.randperm(len(train), generator=generator(seed, "shuffled labels"))]
    return train, test


def _transform(
    config: DatasetConfig, train: Images | FileList, shape: Shape, cache: Cache, device: torch.device
) -> tuple[Normalise | Whiten, dict[str, object]]:
    """Whitening fitted on the training images, or normalisation; and its description for the fingerprint."""
    if config.zca:
        assert isinstance(train, Images)  # the config refuses to whiten a streamed data set
        parts = {"epsilon": EPSILON, "pixels": train.digest}
        matrices = cache.get("zca", parts, lambda: fit_zca(train.images))
        return Whiten(**{name: matrix.to(device) for name, matrix in matrices.items()}), {"zca": EPSILON}
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
    statistics = cache.get("statistics", _decoding(train, shape), lambda: _streamed_statistics(train, shape))
    return statistics["mean"], statistics["std"]


def _streamed_statistics(train: FileList, shape: Shape) -> dict[str, list[float]]:
    labels = torch.tensor(train.labels)
    split = StreamedSplit(train, labels, max(train.labels) + 1, Normalise([0], [1]), shape)

    def chunks() -> Iterator[torch.Tensor]:
        with progress_bar("statistics", len(train)) as bar:
            count = 0
            for chunk in split.pixels(256):
                yield chunk
                count += len(chunk)
                bar.update(count)

    mean, std = pixel_statistics(chunks())
    return {"mean": mean, "std": std}
