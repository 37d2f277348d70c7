"""The operations of differentiable siamese augmentation (Zhao and Bilen, ICML 2021, and its released code).

Each takes images ``x_NCHW``, normalised, and uniforms ``u_N3`` in [0, 1), of which it uses the first few, and gives
images of the same shape; image n is changed by row n alone. Gradients flow to the pixels. What comes from outside an
image is 0, the mean colour of the data.
"""

from __future__ import annotations

import math

import torch

__all__ = ["FAMILIES", "color", "crop", "cutout", "flip", "rotate", "scale"]

CROP, CUTOUT, SCALE, DEGREES = 0.125, 0.5, 1.2, 15.0


def color(x_NCHW: torch.Tensor, u_N3: torch.Tensor) -> torch.Tensor:
    """Brightness, then saturation, then contrast.

    .. math:: x + (u_1 - 1/2); \\quad 2 u_2 (x - \\bar x_{hw}) + \\bar x_{hw}; \\quad
        (u_3 + 1/2)(x - \\bar x) + \\bar x

    with the mean over channels at each pixel, then the mean of the whole image.
    """
    brightness, saturation, contrast = (_image(u) for u in u_N3.unbind(1))
    x = x_NCHW + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def crop(x_NCHW: torch.Tensor, u_N3: torch.Tensor) -> torch.Tensor:
    """Shift both axes by integers, uniform in -s .. s with s = floor(0.125 size + 0.5)."""
    height, width = x_NCHW.shape[-2:]
    reach = int(CROP * width + 0.5)
    down, right = (_integer(u_N3[:, axis], 2 * reach + 1) - reach for axis in (0, 1))
    rows_NH = torch.arange(height, device=x_NCHW.device) + down[:, None]
    columns_NW = torch.arange(width, device=x_NCHW.device) + right[:, None]
    inside_NHW = _within(rows_NH, height)[:, :, None] & _within(columns_NW, width)[:, None, :]
    source_NHW = rows_NH.clamp(0, height - 1)[:, :, None] * width + columns_NW.clamp(0, width - 1)[:, None, :]
    source = source_NHW.flatten(1)[:, None].expand(-1, x_NCHW.shape[1], -1)
    return x_NCHW.flatten(2).gather(2, source).view_as(x_NCHW) * inside_NHW[:, None]


def cutout(x_NCHW: torch.Tensor, u_N3: torch.Tensor) -> torch.Tensor:
    """Zero a square of side floor(0.5 size + 0.5), cut off by the border; its centre is uniform over the image."""
    height, width = x_NCHW.shape[-2:]
    hidden = []
    for axis, size in ((0, height), (1, width)):
        side = int(CUTOUT * size + 0.5)
        first = _integer(u_N3[:, axis], size + 1 - side % 2) - side // 2
        positions_NS = torch.arange(size, device=x_NCHW.device) - first[:, None]
        hidden.append(_within(positions_NS, side))
    return x_NCHW * ~(hidden[0][:, :, None] & hidden[1][:, None, :])[:, None]


def flip(x_NCHW: torch.Tensor, u_N3: torch.Tensor) -> torch.Tensor:
    """Mirror left and right with probability one half."""
    return torch.where(_image(u_N3[:, 0]) < 0.5, x_NCHW.flip(3), x_NCHW)


def scale(x_NCHW: torch.Tensor, u_N3: torch.Tensor) -> torch.Tensor:
    """Scale each axis by its own factor, uniform in [1/1.2, 1.2); a factor below 1 enlarges. Bilinear."""
    factors_N2 = u_N3[:, :2] * (SCALE - 1 / SCALE) + 1 / SCALE
    theta_N23 = torch.cat([torch.diag_embed(factors_N2), torch.zeros_like(factors_N2)[..., None]], dim=2)
    return _sample(x_NCHW, theta_N23)


def rotate(x_NCHW: torch.Tensor, u_N3: torch.Tensor) -> torch.Tensor:
    """Rotate by an angle uniform in [-15, 15) degrees. Bilinear."""
    angle_N = (u_N3[:, 0] - 0.5) * (2 * DEGREES * math.pi / 180)
    cosine, sine, zero = angle_N.cos(), angle_N.sin(), torch.zeros_like(angle_N)
    return _sample(x_NCHW, torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3))


FAMILIES = {"color": color, "crop": crop, "cutout": cutout, "flip": flip, "scale": scale, "rotate": rotate}


def _image(u_N: torch.Tensor) -> torch.Tensor:
    """One value per image, in a shape that broadcasts over it."""
    return u_N[:, None, None, None]


def _integer(u_N: torch.Tensor, count: int) -> torch.Tensor:
    """Integers 0 .. count-1, uniform when `u_N` is."""
    return (u_N * count).long().clamp_max(count - 1)


def _within(position: torch.Tensor, size: int) -> torch.Tensor:
    return (position >= 0) & (position < size)


def _sample(x_NCHW: torch.Tensor, theta_N23: torch.Tensor) -> torch.Tensor:
    grid = torch.nn.functional.affine_grid(theta_N23.to(x_NCHW.dtype), list(x_NCHW.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x_NCHW, grid, align_corners=False)
