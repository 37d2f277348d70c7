"""Random families of differentiable siamese augmentation, drawn and applied row by row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_bench.augment import operations
from distill_bench.errors import UserError, closest

__all__ = ["FAMILIES", "UNIFORMS", "Draw", "apply", "draw", "draw_families", "parameters"]

UNIFORMS = 3  # random numbers an image needs at most (color)

BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT, SCALE, DEGREES = 0.125, 0.5, 1.2, 15.0


@dataclass(frozen=True)
class Draw:
    """One draw for R rows of images: a family a row, and uniforms in [0, 1) (R, p, 3) for its parameters.

    A row is a class (siamese: p = 1, shared by all images of the row) or a network's batch (p = m, one set an
    image). A family is empty where a row stays as it is.
    """

    families: tuple[str, ...]
    uniforms: Tensor

    def rows(self, rows: slice) -> Draw:
        """The draw for some of the rows."""
        return Draw(self.families[rows], self.uniforms[rows])


def draw_families(strategy: str, count: int, generator: torch.Generator) -> tuple[str, ...]:
    """`count` families, uniform among those of `strategy` ("color_crop_..."); no strategy: none.

    `generator` is on the CPU, so that nothing waits for a device. UserError for an unknown family.
    """
    names = strategy.split("_") if strategy else [""]
    for name in filter(None, names):
        if name not in FAMILIES:
            raise UserError(f"augmentation {strategy}: unknown family {name!r}; {closest(name, FAMILIES)}")
    picks = torch.randint(len(names), (count,), generator=generator).tolist()
    return tuple(names[pick] for pick in picks)


def draw(
    strategy: str, rows: int, per_row: int, families: torch.Generator, uniforms: torch.Generator | None = None
) -> Draw:
    """Draw a family for each row from the CPU generator `families`, and its uniforms from `uniforms`.

    The uniforms lie on the device of their generator (by default, that of the families).
    """
    uniforms = uniforms or families
    names = draw_families(strategy, rows, families)
    values = torch.rand(rows, per_row, UNIFORMS, generator=uniforms, device=uniforms.device)
    return Draw(names, values)


def apply(draw: Draw, x: Tensor) -> Tensor:
    """Augment `x` (R, m, C, H, W) row by row, all rows of one family at once; gradients flow to `x`.

    Equal images of a row with shared parameters get equal results, bit for bit on the CPU, in whichever batch
    they stand: so `apply(draw, real)` and `apply(draw, synthetic)` are siamese.
    """
    groups: dict[str, list[int]] = {}
    for row, family in enumerate(draw.families):
        groups.setdefault(family, []).append(row)
    if len(groups) == 1:
        return _family(draw.families[0], x, draw.uniforms)
    images, uniforms = x.unbind(0), draw.uniforms.unbind(0)
    done: list[Tensor] = list(images)
    for family, rows in groups.items():
        group = torch.stack([images[row] for row in rows])
        result = _family(family, group, torch.stack([uniforms[row] for row in rows]))
        for row, image in zip(rows, result.unbind(0), strict=True):
            done[row] = image
    return torch.stack(done)


def parameters(family: str, u: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """What the uniforms `u` (R, p, 3) mean for a family, at `size` (H, W): the keyword arguments of its
    operation.

    color: shift in [-0.5, 0.5), saturation factor in [0, 2), contrast factor in [0.5, 1.5). crop: whole
    shifts in -s..s, s = floor(size/8 + 1/2). cutout: centre in 0..size for an even side, 0..size-1 for an odd
    one, the side being floor(size/2 + 1/2). flip: with probability 1/2. scale: two independent factors in
    [1/1.2, 1.2). rotate: angle in [-15, 15) degrees, given in radians.
    """
    return FAMILIES[family][1](u, size)


def _family(family: str, x: Tensor, u: Tensor) -> Tensor:
    if not family:
        return x
    operation, _ = FAMILIES[family]
    return operation(x, **parameters(family, u, (x.shape[-2], x.shape[-1])))


def _integers(u: Tensor, count: int) -> Tensor:
    """Uniform in 0..count-1."""
    return (u * count).long().clamp_(max=count - 1)


def _side(ratio: float, size: int) -> int:
    return math.floor(ratio * size + 0.5)


def _color(u: Tensor, _size: tuple[int, int]) -> dict[str, Tensor]:
    return {
        "shift": (u[..., 0] - 0.5) * BRIGHTNESS,
        "saturate": u[..., 1] * SATURATION,
        "contrasted": u[..., 2] + CONTRAST,
    }


def _crop(u: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    down, right = (_side(CROP, length) for length in size)
    return {
        "down": _integers(u[..., 0], 2 * down + 1) - down,
        "right": _integers(u[..., 1], 2 * right + 1) - right,
    }


def _cutout(u: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    sides = [_side(CUTOUT, length) for length in size]
    counts = [length + 1 - side % 2 for length, side in zip(size, sides, strict=True)]
    return {"row": _integers(u[..., 0], counts[0]), "column": _integers(u[..., 1], counts[1])}


def _flip(u: Tensor, _size: tuple[int, int]) -> dict[str, Tensor]:
    return {"mirrored": u[..., 0] < 0.5}


def _scale(u: Tensor, _size: tuple[int, int]) -> dict[str, Tensor]:
    horizontal, vertical = (u[..., k] * (SCALE - 1 / SCALE) + 1 / SCALE for k in (0, 1))
    return {"horizontal": horizontal, "vertical": vertical}


def _rotate(u: Tensor, _size: tuple[int, int]) -> dict[str, Tensor]:
    return {"angle": (u[..., 0] - 0.5) * (2 * math.radians(DEGREES))}


def _half_cutout(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    return operations.cutout(x, row, column, (_side(CUTOUT, x.shape[-2]), _side(CUTOUT, x.shape[-1])))


Parameters = Callable[[Tensor, tuple[int, int]], dict[str, Tensor]]

FAMILIES: dict[str, tuple[Callable[..., Tensor], Parameters]] = {
    "color": (operations.color, _color),
    "crop": (operations.crop, _crop),
    "cutout": (_half_cutout, _cutout),
    "flip": (operations.flip, _flip),
    "scale": (operations.scale, _scale),
    "rotate": (operations.rotate, _rotate),
}
