"""The operations of differentiable siamese augmentation (DSA), Zhao and Bilen, ICML 2021, arXiv 2102.08259.

Pure functions of images `x` (R, m, C, H, W) and parameters (R, p) with p = m, one for each image, or p = 1,
shared by the m images of a row. Images are normalised, so zero is the mean colour. Gradients flow to `x`, not
to the parameters. What an operation does to an image does not depend on the other images.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["brightness", "color", "contrast", "crop", "cutout", "flip", "rotate", "saturation", "scale"]


def brightness(x: Tensor, shift: Tensor) -> Tensor:
    """x + shift."""
    return x + _images(shift)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """(x - mean_c x) factor + mean_c x: scales each pixel's distance from its mean over channels."""
    mean = x.mean(2, keepdim=True)
    return (x - mean) * _images(factor) + mean


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """(x - m) factor + m: scales each value's distance from the image's mean m over channels and
    positions."""
    mean = _mean(x.mean(2, keepdim=True))
    return (x - mean) * _images(factor) + mean


def color(x: Tensor, shift: Tensor, saturate: Tensor, contrasted: Tensor) -> Tensor:
    """Brightness, then saturation, then contrast, in one pass over the image.

    With the pixel's mean m_p over channels and the image's mean m, both of `x`, the three amount to

    .. math:: c s x + c (1 - s) m_p + (1 - c) m + b

    for shift b and factors s and c.
    """
    b, s, c = _images(shift), _images(saturate), _images(contrasted)
    pixel = x.mean(2, keepdim=True)
    rest = c * (1 - s) * pixel + ((1 - c) * _mean(pixel) + b)
    return torch.addcmul(rest, x, c * s)


def crop(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """y[i, j] = x[i + down, j + right], zero outside the image; shifts are integers. Exact."""
    return _Shift.apply(x, down, right)


def cutout(x: Tensor, row: Tensor, column: Tensor, sides: tuple[int, int]) -> Tensor:
    """Zero in rows row - h//2 .. row - h//2 + h - 1 that exist, h = sides[0], and in columns likewise."""
    rows, columns = _within(row, sides[0], x.shape[-2]), _within(column, sides[1], x.shape[-1])
    inside = rows[..., :, None] & columns[..., None, :]
    return x * inside.logical_not()[:, :, None]


def flip(x: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror left and right where `mirrored` (bool)."""
    return torch.where(_images(mirrored), x.flip(-1), x)


def scale(x: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Resample at (horizontal u, vertical v), bilinear, zero outside: a factor below 1 enlarges."""
    zero = torch.zeros_like(horizontal)
    return _resample(x, [[horizontal, zero], [zero, vertical]])


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Resample at (u cos t - v sin t, u sin t + v cos t) for the angle t in radians, bilinear, zero
    outside."""
    cos, sin = angle.cos(), angle.sin()
    return _resample(x, [[cos, -sin], [sin, cos]])


def _images(values: Tensor) -> Tensor:
    """(R, p) parameters, broadcast over (R, m, C, H, W)."""
    return values[..., None, None, None]


def _mean(pixel: Tensor) -> Tensor:
    """Mean over positions of (R, m, 1, H, W); axis by axis, so that it is not split in ways that follow from
    R m."""
    return pixel.mean(-1, keepdim=True).mean(-2, keepdim=True)


def _within(centre: Tensor, side: int, size: int) -> Tensor:
    """(R, p) centres -> (R, p, size): positions covered by a window of `side` around the centre."""
    first = (centre - side // 2)[..., None]
    position = torch.arange(size, device=centre.device)
    return (position >= first) & (position < first + side)


def _resample(x: Tensor, matrix: list[list[Tensor]]) -> Tensor:
    """Bilinear samples of `x` on the grid that the 2 x 2 `matrix` of (R, p) makes of the pixels' centres."""
    rows, per_row = matrix[0][0].shape
    linear = torch.stack([torch.stack([*line, torch.zeros_like(line[0])], dim=-1) for line in matrix], dim=-2)
    theta = linear.flatten(0, 1).to(x.dtype)
    images = x.flatten(1, 2) if per_row == 1 else x.flatten(0, 1)
    grid = F.affine_grid(theta, [rows * per_row, 1, *x.shape[-2:]], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).view(x.shape)


class _Shift(torch.autograd.Function):
    """Shift by whole pixels; its adjoint is the opposite shift, so the backward pass is a gather as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, right: Tensor) -> Tensor:
        ctx.shift = (down, right)
        height, width = x.shape[-2:]
        i = torch.arange(height, device=x.device) + down[..., None]
        j = torch.arange(width, device=x.device) + right[..., None]
        exists = ((i >= 0) & (i < height))[..., :, None] & ((j >= 0) & (j < width))[..., None, :]
        source = i.clamp(0, height - 1)[..., :, None] * width + j.clamp(0, width - 1)[..., None, :]
        flat = source.flatten(2)[:, :, None].expand(*x.shape[:3], -1)
        return x.flatten(3).gather(3, flat).view(x.shape) * exists[:, :, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        down, right = ctx.shift
        return _Shift.apply(gradients[0], -down, -right), None, None
