"""Plots of measures against the size of the product, ours beside the paper's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distill_bench.reporting.axes import Axes, axes_key, describe
from distill_bench.reporting.cells import FULL
from distill_bench.reporting.figures import PALETTE, save_figure
from distill_bench.reporting.naming import Naming, together
from distill_bench.reporting.numbers import heading
from distill_bench.reporting.reference import Reference
from distill_bench.reporting.results import Result
from distill_bench.reporting.row import Row
from distill_bench.reporting.table import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Plot
    from matplotlib.figure import Figure

__all__ = ["accuracy_against_ipc", "accuracy_of_table", "error_against_components"]

_PANEL = (4.2, 3.1)  # inches
_MARKERS = "osD^vP*X<>"
_LETTER, _HANDLE = 0.078, 0.6  # inches of a letter of the legend, and of its handle with the space around it


def accuracy_against_ipc(path: Path, results: Iterable[Result], reference: Sequence[Reference] = ()) -> bool:
    """Write a PNG of accuracy against images per class: a panel for each data set, protocol and profile.

    A line for each method (mean, with the standard deviation as bar), open markers for the paper's numbers of
    these methods, a dashed line for the whole training set. Only networks of the kind that distilled. Returns
    False, and writes nothing, if there is no accuracy to show.
    """
    return accuracy_of_table(path, rows(results, reference))


def accuracy_of_table(path: Path, table: Sequence[Row]) -> bool:
    """The same figure from the rows of a table, which may hold cells of earlier sweeps too."""
    return _against(path, table, ("accuracy",), "ipc", "images per class")


def error_against_components(
    path: Path, results: Iterable[Result], reference: Sequence[Reference] = ()
) -> bool:
    """Write a PNG of distance and of integrated squared error against the components that are left.

    Drawn as `accuracy_against_ipc`. Returns False, and writes nothing, if there is none to show.
    """
    return _against(path, rows(results, reference), ("distance", "ise"), "target", "components left")


@dataclass
class Panel:
    """What one panel shows: a line for each method, a row for each size."""

    axis: str  # that of the size
    rest: Axes  # the other axes
    metric: str
    protocol: str
    profile: str
    ceiling: float | None  # the accuracy on the whole training set
    rows: list[Row] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        """All sizes, in their order."""
        return sorted({self.size(row) for row in self.rows})

    def size(self, row: Row) -> int:
        """The size of the product of `row`."""
        return int(row.axes[self.axis])

    @property
    def title(self) -> str:
        """``cifar10 · dc · profile fast``."""
        words = [describe(self.rest), self.protocol, f"profile {self.profile}" if self.profile else ""]
        return " · ".join(filter(None, words))

    @property
    def naming(self) -> Naming:
        """The names of the lines."""
        return Naming(self.rows)

    def lines(self) -> dict[str, dict[int, Row]]:
        """The row of each size, by the name of the line."""
        lines: dict[str, dict[int, Row]] = {}
        naming = self.naming
        for row in together(self.rows):
            lines.setdefault(naming(row), {})[self.size(row)] = row
        return lines


def _against(path: Path, table: Sequence[Row], metrics: Sequence[str], axis: str, label: str) -> bool:
    """One panel for each problem (but its size, the `axis`), metric, protocol and profile."""
    panels = _panels(table, metrics, axis)
    if not panels:
        return False
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines()))

    def draw(figure: Figure, plots: list[Plot]) -> None:
        for plot, panel in zip(plots, panels, strict=True):
            _lines(plot, panel.lines(), names, panel.sizes)
            if panel.ceiling is not None:
                plot.axhline(panel.ceiling, color="#777777", linestyle="--", linewidth=1, zorder=1)
            _dress(plot, panel)
            shared = textwrap.fill(panel.naming.above, int(_PANEL[0] / _LETTER))
            plot.set_xlabel(f"{label}\n{shared}" if shared else label)
        papers = any(row.paper is not None for panel in panels for row in panel.rows)
        _legend(figure, names, papers, any(panel.ceiling is not None for panel in panels))

    return save_figure(path, len(panels), _PANEL, draw)


def _panels(table: Sequence[Row], metrics: Sequence[str], axis: str) -> list[Panel]:
    panels: dict[tuple[object, ...], Panel] = {}
    for row in table:
        wanted = row.mean is not None and row.metric in metrics and not row.facets
        own = row.axes.get("student") == row.axes.get("distiller")
        if not (wanted and own and isinstance(row.axes.get(axis), int)):
            continue
        rest = {name: value for name, value in row.axes.items() if name != axis}
        place = (row.metric, row.protocol, row.profile)
        panel = panels.setdefault(
            (axes_key(rest), *place), Panel(axis, rest, *place, _ceiling(table, rest, row))
        )
        panel.rows.append(row)
    return list(panels.values())


def _lines(
    axes: Plot, lines: Mapping[str, Mapping[int, Row]], names: Sequence[str], sizes: Sequence[int]
) -> None:
    """Every method a little aside of the next, so that bars do not hide one another."""
    for name, line in lines.items():
        index = names.index(name)
        colour, marker, dash = _look(index)
        aside = 0.25 * ((index + 0.5) / len(names) - 0.5)
        ours = [(sizes.index(size) + aside, row) for size, row in sorted(line.items())]
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


def _ceiling(table: Sequence[Row], problem: Axes, row: Row) -> float | None:
    """The accuracy on the whole training set that belongs to a problem, if possible without settings."""
    if row.metric != "accuracy":
        return None
    ceilings = [
        other
        for other in table
        if other.method == FULL
        and (other.protocol, other.profile) == (row.protocol, row.profile)
        and other.axes.items() <= problem.items()
    ]
    return next((other.mean for other in sorted(ceilings, key=lambda other: len(other.settings))), None)


def _dress(axes: Plot, panel: Panel) -> None:
    sizes, values = panel.sizes, [row.mean for row in panel.rows if row.mean]
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_xlim(-0.4, len(sizes) - 0.6)
    axes.set_ylabel(heading(panel.metric))
    if panel.metric != "accuracy" and values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    axes.set_title(panel.title)


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
    width = figure.get_figwidth() - 0.2
    labels = [_wrapped(str(handle.get_label()), width) for handle in handles]
    for handle, text in zip(handles, labels, strict=True):
        handle.set_label(text)
    columns = _columns(labels, width)
    lines = [labels[start : start + columns] for start in range(0, len(labels), columns)]
    high = sum(max(text.count("\n") + 1 for text in line) for line in lines)
    figure.set_figheight(figure.get_figheight() + 0.2 * (high - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _wrapped(label: str, width: float) -> str:
    """A label in lines that fit into `width` inches."""
    return textwrap.fill(label, max(10, int((width - _HANDLE) / _LETTER)))


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of the longest label fit into `width` inches."""
    longest = max(len(line) for label in labels for line in label.splitlines() or [""])
    return max(1, min(len(labels), int(width / (longest * _LETTER + _HANDLE))))
