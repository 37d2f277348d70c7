"""Test images as the usual evaluation of ImageNet sees them: enlarged by about 8/7, their centre cropped."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from distill_bench.data.split import Split

__all__ = ["ZoomedSplit", "enlarged_side", "zoom"]


def enlarged_side(side: int) -> int:
    """The side before the crop, as the code of RDED has it: `side // 7 * 8`, so 256 for 224, 72 for 64.

    It is 32 for 32 pixels: nothing is changed there. Below 21 pixels theirs can be smaller than the image,
    which it then pads with black; here it is `side` at least (our choice).
    """
    return max(side, side // 7 * 8)


def zoom(pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """The square images (uint8) resized to `enlarged_side` (bilinear), rounded, and centre-cropped."""
    side = pixels_NCHW.shape[-1]
    large = enlarged_side(side)
    if large == side:
        return pixels_NCHW
    resized = F.interpolate(pixels_NCHW.float(), size=(large, large), mode="bilinear").round_()
    edge = round((large - side) / 2)
    return resized[..., edge : edge + side, edge : edge + side].to(torch.uint8)


class ZoomedSplit(Split):
    """The images of `split`, each zoomed when it is read; labels and order are the same.

    Images of other sizes have been scaled to the data set's side before: pictures on disk are resampled
    twice, with the field of view that they have in RDED (7/8 of the shorter side).
    """

    def __init__(self, split: Split) -> None:
        super().__init__(split.labels, len(split.class_counts), split.transform)
        self._split = split

    def pixels_at(self, indices: torch.Tensor) -> torch.Tensor:
        """The zoomed images (n, C, H, W) at `indices` (n,), uint8 on the device; a new tensor."""
        return zoom(self._split.pixels_at(indices))

    def pixels(self, batch_size: int) -> Iterator[torch.Tensor]:
        """All zoomed images in order, uint8 (n, C, H, W), in batches."""
        yield from map(zoom, self._split.pixels(batch_size))
