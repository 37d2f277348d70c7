"""Difficulty histograms to aim at in place of the originals', easiest bin first, as shipped with the paper's
code."""

from __future__ import annotations

__all__ = ["SHAPES", "shape_for"]

SHAPES: dict[str, dict[int, list[int]]] = {  # name -> images per class -> images of each bin
    "hill": {
        10: [1, 0, 1, 0, 3, 3, 1, 0, 0, 1],
        20: [1, 1, 1, 2, 5, 5, 2, 1, 1, 1],
        50: [1, 3, 5, 6, 10, 10, 6, 5, 3, 1],
    },
    "ground": {10: [1] * 10, 20: [2] * 10, 50: [5] * 10},
    "slope": {
        10: [3, 3, 1, 1, 0, 0, 1, 1, 0, 0],
        20: [5, 5, 2, 2, 1, 1, 1, 1, 1, 1],
        50: [10, 10, 6, 6, 5, 5, 3, 3, 1, 1],
    },
    "cliff": {
        10: [6, 3, 0, 1, 0, 0, 0, 0, 0, 0],
        20: [9, 6, 1, 1, 1, 1, 1, 0, 0, 0],
        50: [20, 15, 3, 3, 2, 2, 2, 1, 1, 1],
    },
}


def shape_for(name: str, per_class: int) -> list[int]:
    """The shape for `per_class` images; for a number without one, that of the largest number below (or 10),
    to be scaled (our choice)."""
    sizes = SHAPES[name]
    return sizes[max((size for size in sizes if size <= per_class), default=10)]
