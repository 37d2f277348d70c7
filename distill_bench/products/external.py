"""Labelled images that others made: folders of image files, and tensors as released programs save them.

Legend: N images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from distill_bench.data.decode import Shape, decode_files
from distill_bench.data.listing import labelled_files
from distill_bench.errors import UserError, require
from distill_bench.files import Damaged, load_saved_by_torch

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["external_images"]

KEY = "method.path"
FORMS = "{images, labels}, (images, labels), {data: [[images, labels], ...]} or images class by class"


def external_images(path: str, source: ImageDataset, per_class: int) -> Tensor:
    """The images at `path`, class by class: (K * IPC, C, H, W), uint8 or as they were saved.

    A folder has a folder of image files for each class, named as the classes of `source` or in their order. A
    file (.pt, .pth, .safetensors) has one of `FORMS`; nothing in it is executed. UserError, one line, for
    anything else, for other shapes than those of `source`, and for other numbers than IPC of each class.
    """
    place = Path(path).expanduser()
    images, labels = _from_folder(place, source) if place.is_dir() else _from_file(place, source.num_classes)
    shape = (source.channels, source.resolution, source.resolution)
    require(tuple(images.shape[1:]) == shape, KEY, path, f"images of {shape}, not {tuple(images.shape[1:])}")
    classes = source.num_classes
    inside = len(labels) > 0 and int(labels.min()) >= 0 and int(labels.max()) < classes
    require(inside, KEY, path, f"labelled from 0 to {classes - 1}")
    counts = labels.bincount(minlength=classes)
    span = f"{int(counts.min())} to {int(counts.max())}"
    require(
        bool((counts == per_class).all()), KEY, path, f"{per_class} images of each class (ipc), not {span}"
    )
    whole = not images.is_floating_point() or bool(images.isfinite().all())
    require(whole, KEY, path, "images without NaN and infinity")
    images = images[labels.argsort(stable=True)]
    return images if images.dtype == torch.uint8 else images.float()


def _from_folder(folder: Path, source: ImageDataset) -> tuple[Tensor, Tensor]:
    files = labelled_files(folder, source.class_names)
    pixels = decode_files(files.paths(range(len(files))), Shape(source.channels, source.resolution))
    return torch.from_numpy(pixels), torch.tensor(files.labels)


def _from_file(file: Path, classes: int) -> tuple[Tensor, Tensor]:
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            content = load_saved_by_torch(file)
    except (Damaged, OSError, SafetensorError) as error:
        raise UserError(f"{KEY}={file}: cannot be read ({' '.join(str(error).split())})") from None
    images, labels = _pair(content)
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        raise UserError(f"{KEY}={file}: no images there; want {FORMS}")
    if labels is None:
        labels = torch.arange(classes).repeat_interleave(max(1, len(images) // classes))
    labels = labels.flatten() if isinstance(labels, Tensor) else torch.tensor(labels)
    require(len(labels) == len(images), KEY, file, f"as many labels as images ({len(images)})")
    return images.detach(), labels.long()


def _pair(content: Any) -> tuple[Any, Any]:
    """Images and labels of one of `FORMS`; of several sets, the last."""
    if isinstance(content, Mapping) and content.get("data"):
        return _pair(content["data"][-1])
    if isinstance(content, Mapping):
        return content.get("images"), content.get("labels")
    if isinstance(content, Sequence) and len(content) == 2:
        return content[0], content[1]
    return content, None
