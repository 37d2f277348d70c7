"""Zeros around an image, a crop of its own size, a flip and a rotation, from given random numbers: the usual
augmentation of CIFAR.

Axes: N images, C channels, H x W positions. What happens to an image follows from its own row of random
numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["PadCrop", "rotated"]

UNIFORMS = 4  # rows, columns, flip, angle


@dataclass(frozen=True)
class PadCrop:
    """What is done to each image, in this order. What is padded is black, as where pixels are padded."""

    transform: Transform | None  # of the images; None: what is padded is 0
    pad: int  # pixels on each side
    flip: bool  # left to right, with probability 1/2
    rotation: float  # largest angle in degrees; bilinear (torchvision: nearest)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniforms of `count` images, (N, 4), on the generator's device."""
        return torch.rand(count, UNIFORMS, generator=generator, device=generator.device)

    def __call__(self, images_NCHW: Tensor, random_NU: Tensor) -> Tensor:
        """The augmented images."""
        height, width = images_NCHW.shape[-2:]
        black = self._black(images_NCHW)
        rows, columns, mirrored, angle = random_NU.unbind(1)
        places = 2 * self.pad + 1
        down, right = ((u * places).long().clamp_max(places - 1) for u in (rows, columns))
        padded = F.pad(images_NCHW - black, [self.pad] * 4) if self.pad else images_NCHW - black
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, rows, columns, H, W), a view
        crops = windows[torch.arange(len(padded), device=padded.device), :, down, right]
        if self.flip:
            crops = torch.where((mirrored < 0.5)[:, None, None, None], crops.flip(3), crops)
        if self.rotation:
            crops = rotated(crops, math.radians(self.rotation) * (2 * angle - 1))
        return crops + black

    def _black(self, images: Tensor) -> Tensor:
        """What the transform makes of black pixels, (1, C, H, W) or smaller."""
        if self.transform is None:
            return images.new_zeros(1, images.shape[1], 1, 1)
        return self.transform.forward_unit(images.new_zeros(1, *images.shape[1:]))


def rotated(images_NCHW: Tensor, radians_N: Tensor) -> Tensor:
    """Each image turned about its middle, counter-clockwise, bilinearly, zeros where nothing was."""
    height, width = images_NCHW.shape[-2:]
    cosine, sine = radians_N.cos(), radians_N.sin()
    zero = torch.zeros_like(cosine)
    ratio = height / width
    rows = [torch.stack(row, 1) for row in ([cosine, -sine * ratio, zero], [sine / ratio, cosine, zero])]
    grid = F.affine_grid(torch.stack(rows, 1), list(images_NCHW.shape), align_corners=False)
    return F.grid_sample(images_NCHW, grid, padding_mode="zeros", align_corners=False)
