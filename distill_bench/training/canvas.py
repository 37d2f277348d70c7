"""Canvases: several images of one class on one, column by column from the top left.

Legend: N images, G = canvas^2 of them on a canvas, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.groups import Pack
from distill_bench.training.crop import CropAugmentation

if TYPE_CHECKING:
    from distill_bench.training.students import LabelledImages

__all__ = ["Patches", "Scaled", "cut", "join", "pack", "resized", "sides"]


def join(patches_NGCHW: Tensor, canvas: int) -> Tensor:
    """Canvases (N, C, canvas H, canvas W); of four: top left, bottom left, top right, bottom right."""
    parts = patches_NGCHW.unflatten(1, (canvas, canvas))  # (N, column, row, C, H, W)
    return parts.permute(0, 3, 2, 4, 1, 5).flatten(4, 5).flatten(2, 3)


def cut(canvases_NCHW: Tensor, canvas: int) -> Tensor:
    """The parts (N, G, C, H / canvas, W / canvas), in the order of `join`."""
    parts = canvases_NCHW.unflatten(3, (canvas, -1)).unflatten(2, (canvas, -1))  # (N, C, row, h, column, w)
    return parts.permute(0, 4, 2, 1, 3, 5).flatten(1, 2)


def pack(images: Tensor, labels: Tensor, canvas: int, how: Pack) -> tuple[Tensor, Tensor]:
    """Canvases of images (N, C, H, W) with `labels` (N,), class by class in their order; and their labels.

    `downscale`: each image is averaged over canvas x canvas pixels, rounded where they are bytes, so that a
    canvas has the size of one image. `stack`: as it is. What is left of a class, fewer than G images, is
    dropped. Source: the first author's code of IGDS for `downscale`; `stack` is our choice.
    """
    each, order = canvas**2, labels.argsort(stable=True)
    counts = labels.bincount()
    place = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
    rows_NG = order[place < (counts // each * each)[labels[order]]].view(-1, each)
    parts = images if how is Pack.stack else _averaged(images, canvas)
    return join(parts[rows_NG], canvas), labels[rows_NG[:, 0]]


def _averaged(images: Tensor, factor: int) -> Tensor:
    means = F.avg_pool2d(images.float(), factor)
    return means if images.is_floating_point() else means.round().to(images.dtype)


def sides(resolution: int, canvas: int, how: Pack) -> tuple[int, int]:
    """(side of a canvas, side of test images of the other scale), for images of `resolution` pixels.

    Test images as they are show objects at `canvas` times the scale of a downscaled canvas's images, and at
    that of stacked ones. The other scale is the one that the first is not.
    """
    if how is Pack.stack:
        return resolution * canvas, resolution * canvas
    return resolution, resolution // canvas


def resized(images: Tensor, side: int) -> Tensor:
    """Images (N, C, side, side): means of pixels where they become smaller, else bilinear."""
    smaller = side < images.shape[-1]
    return F.interpolate(images, (side, side), mode="area" if smaller else "bilinear")


@dataclass(frozen=True)
class Scaled:
    """A labelled set whose images (normalised) are of another size."""

    split: LabelledImages
    side: int

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, batch_size: int, /) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) in order."""
        for images, labels in self.split.batches(batch_size):
            yield resized(images, self.side), labels


@dataclass(frozen=True)
class Patches:
    """The parts of each canvas change places, uniformly, and are augmented each on its own."""

    each: CropAugmentation
    canvas: int

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random numbers of `count` canvases, (N, U), on the generator's device."""
        keys = torch.rand(count, self.canvas**2, generator=generator, device=generator.device)
        of_parts = self.each.draw(count * self.canvas**2, generator)
        return torch.cat([keys, of_parts.view(count, -1)], dim=1)

    def __call__(self, images_NCHW: Tensor, random_NU: Tensor) -> Tensor:
        """The canvases, put together again."""
        parts = cut(images_NCHW, self.canvas)
        keys_NG, random = random_NU.tensor_split([parts.shape[1]], dim=1)
        rows = torch.arange(len(parts), device=parts.device)[:, None]
        parts = parts[rows, keys_NG.argsort(1)]
        changed = self.each(parts.flatten(0, 1), random.reshape(parts.shape[0] * parts.shape[1], -1))
        return join(changed.view(parts.shape), self.canvas)
