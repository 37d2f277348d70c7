"""A picture of a Gaussian mixture and of its reduction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill_bench.reporting.figures import PALETTE, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MixtureArrays", "draw_mixture"]

# weights (N,), means (N, d), covariances (N, d, d)
MixtureArrays = tuple[np.ndarray, np.ndarray, np.ndarray]

_ORIGINAL, _REDUCED = "#666666", PALETTE[1]


def draw_mixture(path: Path, original: MixtureArrays, reduced: MixtureArrays, title: str = "") -> None:
    """Write a PNG of both densities.

    In one dimension: the original as an area, the reduced one as a line, and each of its weighted components
    as a thin line. Above: contours of both side by side, with the one-sigma ellipse of each component; for d
    > 2 those of the marginal of the first two coordinates.
    """
    if original[1].shape[1] == 1:
        save_figure(path, 1, (7.0, 3.8), lambda _, panels: _draw_curves(panels[0], original, reduced), title)
    else:
        save_figure(
            path,
            2,
            (4.2, 4.0),
            lambda figure, panels: _draw_contours(figure, panels, original, reduced),
            title,
        )


def _draw_curves(panel: Axes, original: MixtureArrays, reduced: MixtureArrays) -> None:
    (low,), (high,) = _frame(3.5, original, reduced)
    x = np.linspace(low, high, 1001)
    f, g = (_densities(mixture, x[:, None]) for mixture in (original, reduced))
    panel.fill_between(x, f.sum(0), color=_ORIGINAL, alpha=0.25, linewidth=0)
    panel.plot(x, f.sum(0), color=_ORIGINAL, linewidth=1.5, label=f"original, {_components(original)}")
    for number, component in enumerate(g):
        label = "its components" if number == 0 else None
        panel.plot(x, component, color=_REDUCED, linewidth=0.8, linestyle="--", label=label)
    panel.plot(x, g.sum(0), color=_REDUCED, linewidth=1.8, label=f"reduced, {_components(reduced)}")
    panel.set(xlabel="x", ylabel="density", xlim=(low, high), ylim=(0, None))
    handles, labels = panel.get_legend_handles_labels()
    order = [0, len(handles) - 1, *range(1, len(handles) - 1)]
    panel.legend([handles[k] for k in order], [labels[k] for k in order])


def _draw_contours(
    figure: Figure, panels: list[Axes], original: MixtureArrays, reduced: MixtureArrays
) -> None:
    d = original[1].shape[1]
    original, reduced = ((w, m[:, :2], s[:, :2, :2]) for w, m, s in (original, reduced))
    low, high = _frame(2.5, original, reduced)
    x, y = (np.linspace(low[k], high[k], 161) for k in range(2))
    points = np.stack(np.meshgrid(x, y), -1)
    densities = [
        _densities(mixture, points.reshape(-1, 2)).sum(0).reshape(161, 161) for mixture in (original, reduced)
    ]
    levels = np.linspace(0, max(density.max() for density in densities), 11)[1:-1]
    shown = zip(
        panels, ("original", "reduced"), (original, reduced), densities, (_ORIGINAL, _REDUCED), strict=True
    )
    for panel, name, mixture, density, colour in shown:
        panel.contour(x, y, density, levels=levels, colors=colour, linewidths=0.7, alpha=0.7)
        for ellipse in _ellipses(mixture):
            panel.plot(*ellipse, color="#222222", linewidth=0.9, linestyle=":")
        panel.set(
            title=f"{name}, {_components(mixture)}, dotted: one sigma",
            xlabel="x₁",
            ylabel="x₂",
            aspect="equal",
        )
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    if d > 2:
        figure.supxlabel(f"marginal of the first two of {d} coordinates", fontsize=9, color="#555555")


def _components(mixture: MixtureArrays) -> str:
    return f"{len(mixture[0])} component{'s' if len(mixture[0]) > 1 else ''}"


def _frame(reach: float, *mixtures: MixtureArrays) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value shown, (d,) each: `reach` standard deviations around every
    component."""
    deviations = [np.sqrt(np.diagonal(s, axis1=1, axis2=2)) for _, _, s in mixtures]
    low = np.concatenate([m - reach * e for (_, m, _), e in zip(mixtures, deviations, strict=True)]).min(0)
    high = np.concatenate([m + reach * e for (_, m, _), e in zip(mixtures, deviations, strict=True)]).max(0)
    return low, high


def _densities(mixture: MixtureArrays, points: np.ndarray) -> np.ndarray:
    """Weighted density of each component at `points` (B, d): (N, B)."""
    weights, means, covariances = mixture
    difference = points[None] - means[:, None]
    squared = np.einsum("nbi,nij,nbj->nb", difference, np.linalg.inv(covariances), difference)
    scale = weights / np.sqrt(np.linalg.det(2 * np.pi * covariances))
    return scale[:, None] * np.exp(-0.5 * squared)


def _ellipses(mixture: MixtureArrays) -> np.ndarray:
    """The one-sigma ellipse of each component, (N, 2, points)."""
    turn = np.linspace(0, 2 * np.pi, 73)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    return mixture[1][:, :, None] + np.linalg.cholesky(mixture[2]) @ circle
