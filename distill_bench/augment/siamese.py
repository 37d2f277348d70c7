"""One augmentation for the real and the synthetic images of a class (Zhao and Bilen, ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distill_bench.augment.strategy import apply, draw

__all__ = ["Siamese", "siamese"]

Siamese = Callable[[Tensor, slice], Tensor]
"""Images (R, m, C, H, W) of some rows of classes, and which rows -> the same images, augmented."""


def siamese(strategy: str, rows: int, families: torch.Generator, draws: torch.Generator) -> Siamese:
    """Draw one family and one set of parameters for each of `rows` classes; equal for all images of a class.

    `families` is on the CPU, `draws` on the device. Without a strategy images stay as they are.
    """
    if not strategy:
        return lambda images, rows: images  # noqa: ARG005 (same form as below)
    parameters = draw(strategy, rows, 1, families, draws)
    return lambda images, rows: apply(parameters.rows(rows), images)
