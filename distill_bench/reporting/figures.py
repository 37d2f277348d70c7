"""How figures look and are written, and the curves of a run."""

from __future__ import annotations

import math
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_bench.files import write_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "curves", "save_figure"]

# Okabe and Ito's colours, which people with any colour vision tell apart; yellow is too pale for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MOST_PANELS = 12
_HIGHEST = 1e100  # of a value: matplotlib computes with differences and squares
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "savefig.facecolor": "white",
    "axes.edgecolor": "#888888",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


def curves(path: Path, points: Iterable[Mapping[str, Any]], counted: str = "step", title: str = "") -> bool:
    """Write a PNG with one small panel for each value of each phase of a run, against the step, which is
    named after what it counts.

    `points` are those of metrics.jsonl, ``{"phase", "step", <name>: value}``; values that are not finite are
    gaps. At most 12 panels. Returns False, and writes nothing, if there is nothing to show.
    """
    traces: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for point in points:
        for name, value in point.items():
            if name not in ("phase", "step") and isinstance(value, (int, float)):
                height = value if abs(value) <= _HIGHEST else math.nan
                traces[str(point["phase"]), name].append((int(point["step"]), float(height)))
    shown = {key: trace for key, trace in traces.items() if any(math.isfinite(value) for _, value in trace)}
    if not shown:
        return False

    def draw(figure: Figure, panels: list[Axes]) -> None:
        for index, (axes, ((phase, name), trace)) in enumerate(zip(panels, shown.items(), strict=False)):
            _curve(axes, sorted(trace), PALETTE[index % len(PALETTE)])
            axes.set_title(name if name in phase else f"{phase}: {name}")
            axes.set_xlabel(counted, labelpad=1, fontsize=8)
        if len(shown) > _MOST_PANELS:
            figure.supxlabel(f"first {_MOST_PANELS} of {len(shown)} curves", fontsize=9, color="#555555")

    return save_figure(path, min(len(shown), _MOST_PANELS), (3.1, 2.0), draw, title)


def _curve(axes: Axes, trace: Sequence[tuple[int, float]], colour: str) -> None:
    steps, values = [step for step, _ in trace], [value for _, value in trace]
    finite = [value for value in values if math.isfinite(value)]
    axes.plot(
        steps, values, color=colour, linewidth=1.5, marker="o" if len(steps) == 1 else None, markersize=4
    )
    if min(finite) > 0 and max(finite) > 50 * min(finite):
        axes.set_yscale("log")
    axes.locator_params(axis="x", nbins=5, integer=True)


def save_figure(
    path: Path,
    count: int,
    size: tuple[float, float],
    draw: Callable[[Figure, list[Axes]], None],
    title: str = "",
) -> bool:
    """A figure of `count` panels, up to three in a row, under `title`; the same bytes for the same content.

    Its form follows from the ending of `path`: png, or pdf.
    """
    from matplotlib.figure import Figure

    columns = 2 if count == 4 else min(count, 3)
    lines = math.ceil(count / columns)
    with _style():
        figure = Figure(figsize=(columns * size[0], lines * size[1] + 0.3), layout="constrained")
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for spare in panels[count:]:
            spare.remove()
        draw(figure, panels[:count])
        if title:
            words = textwrap.fill(title, max(24, int(figure.get_figwidth() / 0.085)))
            figure.suptitle(words, x=0.01, ha="left", fontsize=9, color="#555555")
        form = path.suffix.removeprefix(".")
        metadata = {"CreationDate": None} if form == "pdf" else {"Software": None}
        write_with(path, lambda temporary: figure.savefig(temporary, format=form, dpi=120, metadata=metadata))
    return True


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(_STYLE)
