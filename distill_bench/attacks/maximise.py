"""The inner maximisation that attacks and adversarial training share: steps along the gradient in a region.

What is maximised is any function of images, so that a training loss (the divergence of TRADES, say) is one
argument and not another loop. Axes: ... leading ones (networks M, images B), C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from distill_bench.attacks.ball import PIXELS, Ball, Region
from distill_bench.errors import UserError
from distill_bench.groups import AttackNorm
from distill_bench.seeding import generator

__all__ = ["Ascent", "Objective", "ascend", "check_pixels", "maximise"]

Objective = Callable[[Tensor], Tensor]
"""Images (..., C, H, W) -> what is to become large, (...), one value for each image."""


class Ascent(NamedTuple):
    """Where steps along the gradient ended."""

    images: Tensor  # (..., C, H, W): the last iterate
    stuck: Tensor  # (...) bool: at some step the image had no gradient


def maximise(
    objective: Objective, clean: Tensor, ball: Ball, *, steps: int, step: float, start: Tensor | None = None
) -> Tensor:
    """Images (..., C, H, W) in the ball around `clean` and in [0, 1] that make the objective large.

    Projected gradient ascent (Madry et al., arXiv 1706.06083, Sec. 2.1), from `start` (projected) or from
    `clean`: x <- P(x + step d), with d the sign of the gradient for linf, the gradient over its Euclidean
    norm for l2. The result is the last iterate, without a gradient. Modes and weights of networks are left as
    they are. UserError for pixels outside [0, 1], for which the device is asked once a call, never in a step.
    """
    check_pixels(clean)
    region = Region(clean.detach(), ball)
    return ascend(objective, region, region.project(clean if start is None else start), steps, step).images


def ascend(objective: Objective, region: Region, start: Tensor, steps: int, step: float) -> Ascent:
    """`steps` of `maximise` from a point of the region; a search in several parts ends where one in a row
    does.

    An image whose gradient is zero everywhere, or without a finite entry, goes along a fixed direction
    instead of staying where it is, and is reported as stuck.
    """
    images = start.detach()
    stuck = torch.zeros(images.shape[:-3], dtype=torch.bool, device=images.device)
    for _ in range(steps):
        direction, lost = _direction(_gradient(objective, images), region.ball.norm)
        images = region.project(torch.add(images, direction, alpha=step))
        stuck |= lost
    return Ascent(images, stuck)


def check_pixels(images: Tensor) -> None:
    """UserError unless every pixel is in [0, 1]: normalisation belongs inside the network."""
    low, high = (float(value) for value in images.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"attack: pixels from {low:.4g} to {high:.4g}: must be in [0, 1]; normalise inside the network"
        )


def _gradient(objective: Objective, images: Tensor) -> Tensor:
    """Of the objective of each image by its pixels; zero where the objective does not depend on them."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        values = objective(leaf)
        total = values.sum()
    if values.shape != images.shape[:-3]:
        raise ValueError(f"an objective of shape {tuple(values.shape)} for images {tuple(images.shape)}")
    if not values.requires_grad:
        return torch.zeros_like(images)
    return torch.autograd.grad(total, leaf, materialize_grads=True)[0]


def _direction(gradient: Tensor, norm: AttackNorm) -> tuple[Tensor, Tensor]:
    """The steepest ascent of length 1 in the norm, and which images (...) have no gradient.

    Entries that are not numbers count as zero. For l2 the largest entry is divided out first, since squares
    of small gradients are zero in single precision.
    """
    if norm is AttackNorm.linf:
        direction = gradient.sign()  # that of NaN is 0
        lost = torch.linalg.vector_norm(direction, dim=PIXELS, keepdim=True) == 0  # ord=inf: 17 times slower
    else:
        finite = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        largest = finite.abs().amax(PIXELS, keepdim=True)
        lost = largest == 0
        scaled = finite / largest.masked_fill(lost, 1)
        length = torch.linalg.vector_norm(scaled, dim=PIXELS, keepdim=True)
        direction = scaled / length.masked_fill(lost, 1)
    if lost.device.type != "cpu" or lost.any():  # asking another device would hold it up
        direction = torch.where(lost, _way_out(gradient.shape[-3:], norm).to(gradient), direction)
    return direction, lost.flatten(-3).squeeze(-1)


@lru_cache(maxsize=8)
def _way_out(shape: torch.Size, norm: AttackNorm) -> Tensor:
    """Random signs (C, H, W), always the same, of length 1 in the norm."""
    signs = torch.randint(2, shape, generator=generator(0, "attack", "way out")).mul(2).sub(1).float()
    return signs if norm is AttackNorm.linf else signs / shape.numel() ** 0.5
