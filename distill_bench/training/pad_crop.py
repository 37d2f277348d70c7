"""A black border around an image, a crop of its own size, a flip and a rotation, from given random numbers:
the usual augmentation of CIFAR.

Axes: N images, C channels, H x W positions. What happens to an image follows from its own row of random
numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["PadCrop", "places"]

UNIFORMS = 4  # row, column, flip, angle


class PadCrop:
    """What is done to each image, in this order, by copying pixels: nothing is interpolated.

    transform: of the images; None: black is 0. pad: pixels on each side. flip: left to right, with
    probability 1/2. rotation: largest angle in degrees, uniform; the nearest pixel, as torchvision has it.
    """

    def __init__(self, transform: Transform | None, pad: int, flip: bool, rotation: float) -> None:
        self.transform, self.pad, self.flip, self.rotation = transform, pad, flip, rotation
        self._black: Tensor | None = None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniforms of `count` images, (N, 4), on the generator's device."""
        return torch.rand(count, UNIFORMS, generator=generator, device=generator.device)

    def __call__(self, images_NCHW: Tensor, random_NU: Tensor) -> Tensor:
        """The augmented images, a new tensor: one gather, whatever is done."""
        height, width = images_NCHW.shape[-2:]
        black, border = self.black(images_NCHW), max(self.pad, 1)
        uneven = black.shape[-1] > 1  # black differs from place to place: the border is that of the rest
        high, wide = height + 2 * border, width + 2 * border
        colour = 0 * black[..., :1, :1] if uneven else black
        canvas = colour.expand(*images_NCHW.shape[:2], high, wide).contiguous()
        content = images_NCHW - black if uneven else images_NCHW
        canvas[..., border : border + height, border : border + width] = content
        rows, columns = places(random_NU, (height, width), self.pad, self.flip, self.rotation)
        index_NHW = (rows + border) * wide + columns + border
        index_NCP = index_NHW.flatten(1)[:, None].expand(-1, images_NCHW.shape[1], -1)
        crops = canvas.flatten(2).gather(2, index_NCP).view(images_NCHW.shape)
        return crops + black if uneven else crops

    def black(self, images: Tensor) -> Tensor:
        """What the transform makes of black pixels: (1, C, 1, 1), or (1, C, H, W) where it depends on the
        place. Found out once."""
        if self._black is None:
            black = images.new_zeros(1, *images.shape[1:])
            black = black if self.transform is None else self.transform.forward_unit(black).to(images.dtype)
            even = bool((black == black[..., :1, :1]).all())
            self._black = black[..., :1, :1] if even else black
        return self._black


def places(
    random_NU: Tensor, shape: tuple[int, int], pad: int, flip: bool, rotation: float
) -> tuple[Tensor, Tensor]:
    """Where each pixel of the result comes from: rows and columns, which broadcast to (N, H, W), counted from
    the image's corner; black, up to `pad` beyond the image, and row -1 where a rotation left nothing."""
    height, width = shape
    device, count = random_NU.device, 2 * pad + 1
    down, right = (random_NU[:, :2] * count).long().clamp_max(count - 1).sub(pad)[..., None, None].unbind(1)
    rows = torch.arange(height, device=device)[None, :, None]
    columns = torch.arange(width, device=device)[None, None, :]
    inside = None
    if rotation:
        radians_N11 = math.radians(rotation) * (2 * random_NU[:, 3, None, None] - 1)
        rows, columns = _turned(rows, columns, shape, radians_N11)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if flip:
        columns = torch.where(random_NU[:, 2, None, None] < 0.5, width - 1 - columns, columns)
    rows, columns = rows + down, columns + right
    if inside is not None:
        rows, columns = rows.where(inside, -1), columns.where(inside, 0)
    return rows, columns


def _turned(rows: Tensor, columns: Tensor, shape: tuple[int, int], radians: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest places of an image that is turned counter-clockwise about its middle."""
    middle = [(length - 1) / 2 for length in shape]
    y, x = rows - middle[0], columns - middle[1]
    cosine, sine = radians.cos(), radians.sin()
    down, right = sine * x + cosine * y, cosine * x - sine * y
    return (down + middle[0]).round().long(), (right + middle[1]).round().long()
