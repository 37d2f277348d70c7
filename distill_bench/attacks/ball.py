"""The images that an attack may show in the place of an image: near it, and in the box [0, 1].

Axes: ... leading ones (networks M, images B), C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distill_bench.groups import AttackNorm

__all__ = ["PIXELS", "Ball", "Region"]

PIXELS = (-3, -2, -1)  # the axes of one image


@dataclass(frozen=True)
class Ball:
    """All differences of at most `eps` (>= 0, of pixels in [0, 1]) in `norm`."""

    norm: AttackNorm
    eps: float

    @property
    def order(self) -> float:
        """The norm as `torch.linalg.vector_norm` has it."""
        return torch.inf if self.norm is AttackNorm.linf else 2.0

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Differences (..., C, H, W), uniform in the ball and independent, on the generator's device.

        l2: a uniform direction, and the radius eps u^(1/d) of d dimensions, u uniform in [0, 1].
        """
        device = generator.device
        if self.norm is AttackNorm.linf:
            return torch.rand(shape, generator=generator, device=device).mul_(2).sub_(1).mul_(self.eps)
        normal = torch.randn(shape, generator=generator, device=device)
        sphere = normal / torch.linalg.vector_norm(normal, dim=PIXELS, keepdim=True)
        radius = torch.rand((*shape[:-3], 1, 1, 1), generator=generator, device=device)
        return sphere * radius.pow(1 / math.prod(shape[-3:])) * self.eps

    def draw_each(self, shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
        """What `draw` gives for each of the generators, (n, ...), bit for bit, with less overhead."""
        if self.norm is not AttackNorm.linf:
            return torch.stack([self.draw(shape, each) for each in generators])
        device = generators[0].device
        numbers = torch.empty(len(generators), *shape, device=device)
        for row, each in zip(numbers.unbind(), generators, strict=True):
            torch.rand(shape, generator=each, out=row)
        return numbers.mul_(2).sub_(1).mul_(self.eps)


class Region:
    """The part of the box [0, 1] that is within a ball around each of the images `clean` (..., C, H, W)."""

    def __init__(self, clean: Tensor, ball: Ball) -> None:
        self.clean, self.ball = clean, ball
        reach = ball.eps if ball.norm is AttackNorm.linf else math.inf
        self.lower, self.upper = (clean - reach).clamp_min_(0), (clean + reach).clamp_max_(1)

    def project(self, images: Tensor) -> Tensor:
        """Images (..., C, H, W) in the region: first on the ball, then on the box, which only brings them
        nearer."""
        if self.ball.norm is AttackNorm.linf:
            return torch.clamp(images, self.lower, self.upper)
        change = images - self.clean
        length = torch.linalg.vector_norm(change, dim=PIXELS, keepdim=True)
        shrink = (self.ball.eps / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max_(1)
        return change.mul_(shrink).add_(self.clean).clamp_(self.lower, self.upper)

    def distance(self, images: Tensor) -> Tensor:
        """How far images are from the clean ones, (...), double precision."""
        return torch.linalg.vector_norm(
            images - self.clean, ord=self.ball.order, dim=PIXELS, dtype=torch.float64
        )

    def of(self, rows: Tensor) -> Self:
        """The regions of some of B clean images (B, C, H, W)."""
        return type(self)(self.clean[rows], self.ball)
