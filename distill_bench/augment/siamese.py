"""Draws of augmentation, and their application to rows of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from distill_bench.augment.operations import FAMILIES

__all__ = ["Draw", "apply", "draw"]


@dataclass(frozen=True)
class Draw:
    """What happens to R rows of images: one family each, and uniforms (R, 1 or m, 3) in [0, 1).

    With one uniform a row, all its images are changed alike (siamese: a class, its real and its synthetic images);
    with m, each has its own parameters (the batch of a network in training).
    """

    families: list[str]
    uniforms: torch.Tensor

    def rows(self, chosen: slice) -> Draw:
        """The draw of some of the rows."""
        return Draw(self.families[chosen], self.uniforms[chosen])


def draw(strategy: str, rows: int, per_row: int, families: torch.Generator, values: torch.Generator) -> Draw:
    """One family a row, uniform over those of `strategy` (their names joined by ``_``), and fresh uniforms.

    `families` is a generator on the CPU, so that nothing waits for the device; `values` is on the device where
    the images are.
    """
    names = strategy.split("_")
    picked = torch.randint(len(names), (rows,), generator=families).tolist()
    return Draw([names[i] for i in picked], torch.rand(rows, per_row, 3, generator=values, device=values.device))


def apply(drawn: Draw, x_RMCHW: torch.Tensor) -> torch.Tensor:
    """The images (R, m, C, H, W) with each row changed by its family; equal images of a siamese row stay equal.

    Rows of one family are changed together: at most six operations, whatever the number of rows.
    """
    if len(set(drawn.families)) == 1:
        return _apply_family(drawn.families[0], x_RMCHW, drawn.uniforms)
    order = sorted(range(len(drawn.families)), key=drawn.families.__getitem__)
    names = sorted(set(drawn.families))
    counts = [drawn.families.count(name) for name in names]
    forth = torch.tensor(order, device=x_RMCHW.device)
    back = torch.argsort(forth)
    images = x_RMCHW.index_select(0, forth).split(counts)
    uniforms = drawn.uniforms.index_select(0, forth).split(counts)
    changed = [_apply_family(n, x, u) for n, x, u in zip(names, images, uniforms, strict=True)]
    return torch.cat(changed).index_select(0, back)


def _apply_family(name: str, x_RMCHW: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    u_N3 = uniforms.to(x_RMCHW.dtype).expand(-1, x_RMCHW.shape[1], -1).flatten(0, 1)
    return FAMILIES[name](x_RMCHW.flatten(0, 1), u_N3).view_as(x_RMCHW)
