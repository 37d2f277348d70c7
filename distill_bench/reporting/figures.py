"""Plots of results: measures against the size of the product, and the curves of a run."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill_bench.files import write_with
from distill_bench.reporting.cells import FULL
from distill_bench.reporting.grids import image_grid
from distill_bench.reporting.numbers import heading
from distill_bench.reporting.reference import Reference
from distill_bench.reporting.results import Result
from distill_bench.reporting.row import Row
from distill_bench.reporting.table import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PALETTE",
    "accuracy_against_ipc",
    "accuracy_of_table",
    "curves",
    "error_against_components",
    "image_grid",
    "save_figure",
]

# Okabe and Ito's colours, which people with any colour vision tell apart; yellow is too pale for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*X<>"
_MOST_PANELS = 12
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


def accuracy_against_ipc(path: Path, results: Iterable[Result], reference: Sequence[Reference] = ()) -> bool:
    """Write a PNG of accuracy against images per class: a panel for each data set, protocol and profile.

    A line for each method (mean, with the standard deviation as bar), open markers for the paper's numbers of
    these methods, a dashed line for the whole training set. Only networks of the kind that distilled. Returns
    False, and writes nothing, if there is no accuracy to show.
    """
    return accuracy_of_table(path, rows(results, reference))


def accuracy_of_table(path: Path, table: Sequence[Row]) -> bool:
    """The same figure from the rows of a table, which may hold cells of earlier sweeps too."""
    size = re.compile(r"^ipc=(\d+)$")
    return _against(path, table, ("accuracy",), size, "images per class")


def error_against_components(
    path: Path, results: Iterable[Result], reference: Sequence[Reference] = ()
) -> bool:
    """Write a PNG of distance and of integrated squared error against the components that are left.

    Drawn as `accuracy_against_ipc`. Returns False, and writes nothing, if there is none to show.
    """
    size = re.compile(r"^(?:L=|d=\d+ \d+->)(\d+)$")
    return _against(path, rows(results, reference), ("distance", "ise"), size, "components left")


def curves(path: Path, points: Iterable[Mapping[str, Any]]) -> bool:
    """Write a PNG with one small panel for each value of each phase of a run, against the step.

    `points` are those of metrics.jsonl, ``{"phase", "step", <name>: value}``; values that are not finite are
    gaps. At most 12 panels. Returns False, and writes nothing, if there is nothing to show.
    """
    traces: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for point in points:
        for name, value in point.items():
            if name not in ("phase", "step") and isinstance(value, (int, float)):
                traces[str(point["phase"]), name].append((int(point["step"]), float(value)))
    shown = {key: trace for key, trace in traces.items() if any(math.isfinite(value) for _, value in trace)}
    if not shown:
        return False

    def draw(figure: Figure, panels: list[Axes]) -> None:
        for index, (axes, ((phase, name), trace)) in enumerate(zip(panels, shown.items(), strict=False)):
            _curve(axes, sorted(trace), PALETTE[index % len(PALETTE)])
            axes.set_title(name if name in phase else f"{phase}: {name}")
        if len(shown) > _MOST_PANELS:
            figure.supxlabel(f"first {_MOST_PANELS} of {len(shown)} curves", fontsize=9, color="#555555")

    return save_figure(path, min(len(shown), _MOST_PANELS), (3.1, 2.0), draw)


def _curve(axes: Axes, trace: Sequence[tuple[int, float]], colour: str) -> None:
    steps, values = [step for step, _ in trace], [value for _, value in trace]
    finite = [value for value in values if math.isfinite(value)]
    axes.plot(
        steps, values, color=colour, linewidth=1.5, marker="o" if len(steps) == 1 else None, markersize=4
    )
    if min(finite) > 0 and max(finite) > 50 * min(finite):
        axes.set_yscale("log")
    axes.set_xlabel("step", labelpad=1, fontsize=8)
    axes.locator_params(axis="x", nbins=5, integer=True)


def _against(
    path: Path, table: Sequence[Row], metrics: Sequence[str], size: re.Pattern[str], label: str
) -> bool:
    """One panel for each (family, metric, protocol, profile) that was measured at some size."""
    panels: dict[tuple[str, ...], dict[str, dict[int, Row]]] = {}
    for row in table:
        family, _, rest = row.setting.partition(" ")
        match = size.match(rest)
        if row.mean is not None and match and row.metric in metrics:
            dimension = rest.partition(" ")[0] if rest.startswith("d=") else ""
            place = (" ".join(filter(None, [family, dimension])), row.metric, row.protocol, row.profile)
            panels.setdefault(place, {}).setdefault(row.name, {})[int(match[1])] = row
    if not panels:
        return False
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))

    def draw(figure: Figure, axes: list[Axes]) -> None:
        for panel, (place, lines) in zip(axes, panels.items(), strict=True):
            sizes = sorted({size for line in lines.values() for size in line})
            _lines(panel, lines, names, sizes)
            if ceiling := _ceiling(table, place):
                panel.axhline(ceiling, color="#777777", linestyle="--", linewidth=1, zorder=1)
            _dress(panel, place, lines, sizes)
            panel.set_xlabel(label)
        papers = any(
            r.paper is not None for p in panels.values() for line in p.values() for r in line.values()
        )
        _legend(figure, names, papers, any(_ceiling(table, place) for place in panels))

    return save_figure(path, len(panels), (4.2, 3.1), draw)


def _lines(
    axes: Axes, lines: Mapping[str, Mapping[int, Row]], names: Sequence[str], sizes: Sequence[int]
) -> None:
    """Every method a little aside of the next, so that bars do not hide one another."""
    for name, measured in lines.items():
        index = names.index(name)
        colour, marker, dash = _look(index)
        aside = 0.25 * ((index + 0.5) / len(names) - 0.5)
        ours = [(sizes.index(size) + aside, row) for size, row in sorted(measured.items())]
        xs, bars = [x for x, _ in ours], [row.std or 0.0 for _, row in ours]
        means = [row.mean or 0.0 for _, row in ours]
        axes.errorbar(
            xs, means, bars, color=colour, marker=marker, markersize=5, linewidth=1.5, capsize=2.5, ls=dash
        )
        papers = [(x, row) for x, row in ours if row.paper is not None]
        if papers:
            xs, bars = [x for x, _ in papers], [row.paper_std or 0.0 for _, row in papers]
            values = [row.paper or 0.0 for _, row in papers]
            axes.errorbar(xs, values, bars, color=colour, linestyle="none", elinewidth=0.8)
            axes.plot(
                xs,
                values,
                color=colour,
                marker=marker,
                markersize=8,
                markerfacecolor="none",
                linestyle="none",
            )


def _look(index: int) -> tuple[str, str, Literal["-", "--"]]:
    """Colour, marker and line of the method at this place: dashed where the colours start again."""
    return (
        PALETTE[index % len(PALETTE)],
        _MARKERS[index % len(_MARKERS)],
        "-" if index < len(PALETTE) else "--",
    )


def _ceiling(table: Sequence[Row], place: tuple[str, ...]) -> float | None:
    family, metric, *labels = place
    found = (
        r for r in table if r.method == FULL and r.setting == family and [r.protocol, r.profile] == labels
    )
    return next((row.mean for row in found), None) if metric == "accuracy" else None


def _dress(
    axes: Axes, place: tuple[str, ...], lines: Mapping[str, Mapping[int, Row]], sizes: Sequence[int]
) -> None:
    family, metric, protocol, profile = place
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_xlim(-0.4, len(sizes) - 0.6)
    axes.set_ylabel(heading(metric))
    values = [row.mean for line in lines.values() for row in line.values() if row.mean]
    if metric != "accuracy" and values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    axes.set_title(" · ".join(filter(None, [family, protocol, f"profile {profile}" if profile else ""])))


def _legend(figure: Figure, names: Sequence[str], papers: bool, ceiling: bool) -> None:
    from matplotlib.lines import Line2D

    looks = [_look(index) for index in range(len(names))]
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, linestyle=dash, label=name)
        for name, (colour, marker, dash) in zip(names, looks, strict=True)
    ]
    if papers:
        handles.append(
            Line2D(
                [],
                [],
                color="#555555",
                marker="o",
                markersize=7,
                markerfacecolor="none",
                linestyle="none",
                label="paper",
            )
        )
    if ceiling:
        handles.append(Line2D([], [], color="#777777", linestyle="--", label="full data"))
    columns = min(len(handles), max(2, round(figure.get_figwidth() / 1.3)))
    figure.set_figheight(figure.get_figheight() + 0.2 * (math.ceil(len(handles) / columns) - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def save_figure(
    path: Path, count: int, size: tuple[float, float], draw: Callable[[Figure, list[Axes]], None]
) -> bool:
    """A figure of `count` panels, up to three in a row, the same bytes for the same content."""
    from matplotlib.figure import Figure

    columns = 2 if count == 4 else min(count, 3)
    lines = math.ceil(count / columns)
    with _style():
        figure = Figure(figsize=(columns * size[0], lines * size[1] + 0.3), layout="constrained")
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for spare in panels[count:]:
            spare.remove()
        draw(figure, panels[:count])
        metadata = {"Software": None}
        write_with(
            path, lambda temporary: figure.savefig(temporary, format="png", dpi=120, metadata=metadata)
        )
    return True


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(_STYLE)
