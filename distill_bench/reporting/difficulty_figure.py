"""A picture of a selection by difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill_bench.reporting.figures import PALETTE, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_difficulty"]

_COLOURS = {"originals": "#666666", "pool": PALETTE[0], "selection": PALETTE[1]}
_EDGES = np.linspace(0, 1, 11)


def draw_difficulty(
    path: Path, raw: Mapping[str, np.ndarray], scaled: Mapping[str, np.ndarray], quotas: np.ndarray | None
) -> None:
    """Write a PNG of the histograms of `originals`, `pool` and `selection`, all classes together.

    Left: difficulty itself, on a logarithmic axis of shares, since most images are easy. Right: the scale on
    which the selection is made, with the shares that were wanted (`quotas`, images of each bin) as a line.
    """

    def draw(figure: Figure, panels: list[Axes]) -> None:
        for panel, sets in zip(panels, (raw, scaled), strict=True):
            _bars(panel, sets)
        panels[0].set(title="difficulty", xlabel="1 − p(y | x)", ylabel="share of the images", yscale="log")
        panels[1].set(title="on the trimmed logarithmic scale", xlabel="0: easiest, 1: hardest of the kept")
        if quotas is not None:
            panels[1].stairs(quotas / quotas.sum(), _EDGES, color="#000000", linestyle="--", label="wanted")
        handles, labels = panels[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))

    save_figure(path, 2, (4.4, 3.0), draw)


def _bars(panel: Axes, sets: Mapping[str, np.ndarray]) -> None:
    """The shares of each set in ten bins, side by side."""
    width = 0.09 / len(sets)
    for place, (name, values) in enumerate(sets.items()):
        left = _EDGES[:-1] + 0.005 + place * width
        panel.bar(left, _shares(values), width, align="edge", color=_COLOURS[name], label=name)
    panel.set_xlim(0, 1)
    panel.set_xticks(_EDGES[::2])


def _shares(values: np.ndarray) -> np.ndarray:
    """The share of the values in each bin; the last is closed."""
    numbers = np.clip((10 * values).astype(int), 0, 9)
    return np.bincount(numbers, minlength=10) / len(values)
