"""Random-resized-crop, flip, colour jitter and lighting of batches of normalised images, from given random
numbers.

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

__all__ = ["CropAugmentation", "box_of", "jitter", "lighting", "resized_crop"]

TRIES = 10  # boxes drawn for an image: the first that fits is taken, or the whole image
LOG_RATIO = math.log(4 / 3)  # of a box's sides, at most
UNIFORMS = 2 * TRIES + 2 + 1 + 3 + 1  # box, place, flip, factors, their order
GREY = (0.299, 0.587, 0.114)
ORDERS = (
    (0, 1, 2),
    (0, 2, 1),
    (1, 0, 2),
    (1, 2, 0),
    (2, 0, 1),
    (2, 1, 0),
)  # brightness 0, contrast 1, saturation 2

# principal colours of ImageNet's pixels in [0, 1] (Krizhevsky et al., 2012): eigenvalues, and eigenvectors in
# columns
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class CropAugmentation:
    """What is done to each image, in this order; colours are changed in [0, 1], of images of three channels
    alone."""

    transform: Transform | None  # None: colours stay
    area: float  # least share of the image in a crop, 1: no crop
    flip: bool  # with probability 1/2
    jitter: float  # half-width of the factors of brightness, contrast and saturation
    lighting: float  # standard deviation of the weights of the principal colours

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random numbers of `count` images, (N, U), on the generator's device: uniforms, then three
        normals."""
        device = generator.device
        uniforms = torch.rand(count, UNIFORMS, generator=generator, device=device)
        return torch.cat([uniforms, torch.randn(count, 3, generator=generator, device=device)], dim=1)

    def __call__(self, images_NCHW: Tensor, random_NU: Tensor) -> Tensor:
        """The augmented images."""
        box, place, mirrored, factors, order, normals = random_NU.split([2 * TRIES, 2, 1, 3, 1, 3], dim=1)
        height, width = images_NCHW.shape[-2:]
        if self.area < 1 or self.flip:
            corner, size = box_of(box.unflatten(1, (TRIES, 2)), place, self.area, (height, width))
            flipped = (mirrored[:, 0] < 0.5) & self.flip
            images_NCHW = resized_crop(images_NCHW, corner, size, flipped)
        if self.transform is None or images_NCHW.shape[1] != 3 or not (self.jitter or self.lighting):
            return images_NCHW
        images = self.transform.inverse(images_NCHW)
        if self.jitter:
            images = jitter(images, 1 + self.jitter * (2 * factors - 1), order[:, 0])
        return self.transform.forward_unit(lighting(images, self.lighting * normals))


def box_of(box_NT2: Tensor, place_N2: Tensor, area: float, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(top left corners, heights and widths) of crops, whole pixels (N, 2) each, from uniforms in [0, 1).

    A share of the image in [area, 1) and a ratio of sides, log-uniform in [3/4, 4/3), as torchvision draws
    them.
    """
    share = area + (1 - area) * box_NT2[..., 0]
    ratio = (LOG_RATIO * (2 * box_NT2[..., 1] - 1)).exp()
    whole = torch.tensor(shape, device=share.device)
    sides_NT2 = (torch.stack([share / ratio, share * ratio], dim=-1).sqrt() * whole).round().long()
    fits_NT = ((sides_NT2 <= whole) & (sides_NT2 > 0)).all(-1)
    first = fits_NT.int().argmax(1)
    sides = sides_NT2.gather(1, first[:, None, None].expand(-1, 1, 2))[:, 0]
    sides = torch.where(fits_NT.any(1, keepdim=True) & (area < 1), sides, whole)
    corner = (place_N2 * (whole - sides + 1)).long().minimum(whole - sides)
    return corner, sides


def resized_crop(images_NCHW: Tensor, corner_N2: Tensor, size_N2: Tensor, flipped_N: Tensor) -> Tensor:
    """Each image's box, bilinearly enlarged to the whole size, and mirrored left to right where `flipped`.

    As `F.interpolate(align_corners=False)` of the box alone: nothing beyond the box is seen.
    """
    axes = []
    for axis, length in enumerate(images_NCHW.shape[-2:]):
        place = torch.arange(length, device=images_NCHW.device).expand(len(images_NCHW), length)
        if axis == 1:
            place = torch.where(flipped_N[:, None], length - 1 - place, place)
        size = size_N2[:, axis, None]
        inside = ((place + 0.5) * size / length - 0.5).clamp_min(0).minimum((size - 1).to(images_NCHW.dtype))
        axes.append(
            (2 * (inside + corner_N2[:, axis, None]) + 1) / length - 1
        )  # -1 and 1 are the image's borders
    rows, columns = axes
    height, width = images_NCHW.shape[-2:]
    grid = torch.stack(
        [columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)], dim=-1
    )
    return F.grid_sample(images_NCHW, grid, padding_mode="border", align_corners=False)


def jitter(images_NCHW: Tensor, factors_N3: Tensor, order_N: Tensor) -> Tensor:
    r"""Brightness, contrast and saturation times `factors`, in one of the six orders, chosen by the uniforms
    `order`.

    Each is :math:`f x + (1 - f) b` with b = 0, the grey image's mean m, and the grey image g itself. Whatever
    the order, the three amount to :math:`\alpha x + \beta g + \gamma m`, in one pass over the image. Nothing
    is clipped.
    """
    grey = (images_NCHW * images_NCHW.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    orders = torch.tensor(ORDERS, device=images_NCHW.device)
    kinds_N3 = orders[(order_N * len(ORDERS)).long().clamp_max(len(ORDERS) - 1)]
    alpha, beta, gamma = torch.ones_like(order_N), torch.zeros_like(order_N), torch.zeros_like(order_N)
    for kind_N in kinds_N3.unbind(1):
        factor = factors_N3.gather(1, kind_N[:, None])[:, 0]
        to_mean = torch.where(kind_N == 1, (1 - factor) * (alpha + beta + gamma), 0)
        to_grey = torch.where(kind_N == 2, (1 - factor) * (alpha + beta), 0)
        constant = torch.where(kind_N == 2, gamma, factor * gamma)  # greyness leaves a constant as it is
        alpha, beta, gamma = factor * alpha, factor * beta + to_grey, constant + to_mean
    a, b, c = (weight.view(-1, 1, 1, 1) for weight in (alpha, beta, gamma))
    return torch.addcmul(b * grey + c * mean, images_NCHW, a)


def lighting(images_NCHW: Tensor, weights_N3: Tensor) -> Tensor:
    """Add to every pixel the principal colours, each times its eigenvalue and the image's weight."""
    values, vectors = images_NCHW.new_tensor(EIGENVALUES), images_NCHW.new_tensor(EIGENVECTORS)
    return images_NCHW + ((weights_N3 * values) @ vectors.T)[..., None, None]
