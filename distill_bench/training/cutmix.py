"""CutMix (Yun et al., ICCV 2019): a box of each image is pasted over from another image of its batch.

Axes: M networks, each with its own batch of B images, C x H x W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Mix", "cutmix", "draw_mix"]


@dataclass(frozen=True)
class Mix:
    """One draw for one batch: where each image takes its box from, and the box, shared by the batch."""

    partners: Tensor  # (B,), on the CPU
    box: tuple[int, int, int, int]  # first row, last row + 1, first column, last column + 1

    def share(self, shape: tuple[int, int]) -> float:
        """The share of the image that is not pasted over: the weight of its own label."""
        top, bottom, left, right = self.box
        return 1 - (bottom - top) * (right - left) / (shape[0] * shape[1])


def draw_mix(batch: int, shape: tuple[int, int], generator: torch.Generator) -> Mix:
    """An own share from Beta(1, 1), a box of that shape around a uniform centre, cut off at the borders.

    `generator` is on the CPU, so that nothing waits for a device.
    """
    share, *centre = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    bounds: list[int] = []
    for length, place in zip(shape, centre, strict=True):
        half, middle = int(length * math.sqrt(1 - share)) // 2, int(place * length)
        bounds += [max(0, middle - half), min(length, middle + half)]
    return Mix(torch.randperm(batch, generator=generator), (bounds[0], bounds[1], bounds[2], bounds[3]))


def cutmix(images_MBCHW: Tensor, mixes: list[Mix]) -> tuple[Tensor, Tensor, Tensor]:
    """(mixed images, partners (M, B), shares (M,) of the images' own), one mix for each network's batch."""
    device, shape = images_MBCHW.device, (images_MBCHW.shape[-2], images_MBCHW.shape[-1])
    partners_MB = torch.stack([mix.partners for mix in mixes]).to(device, non_blocking=True)
    mixed = images_MBCHW.clone()
    for own, images, partners, mix in zip(mixed, images_MBCHW, partners_MB, mixes, strict=True):
        top, bottom, left, right = mix.box
        own[..., top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    share_M = torch.tensor([mix.share(shape) for mix in mixes], device=device)
    return mixed, partners_MB, share_M
