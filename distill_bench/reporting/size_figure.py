"""Plots of measures against the size of the product, or against the setting that an ablation sweeps; ours
beside the paper's."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill_bench.reporting.axes import Axes, Axis, axes_key, describe, natural
from distill_bench.reporting.cells import FULL
from distill_bench.reporting.figures import PALETTE, save_figure
from distill_bench.reporting.layout import MEANINGLESS
from distill_bench.reporting.naming import Naming, together
from distill_bench.reporting.numbers import chance_of, heading
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
    """What one panel shows: a line for each method, a row for each size, or for each value of a setting."""

    axis: str  # that of the size
    rest: Axes  # the other axes
    metric: str
    protocol: str
    profile: str
    ceiling: float | None  # the accuracy on the whole training set
    rows: list[Row] = field(default_factory=list)

    @property
    def swept(self) -> str:
        """The one setting that tells the rows of a method apart, where there is one size; else empty."""
        if len({row.axes[self.axis] for row in self.rows}) > 1:
            return ""
        keys = {key for row in self.rows for key in row.settings if key not in self.naming.shared}
        key = next(iter(keys), "")
        places = [(row.method, str(row.settings.get(key))) for row in self.rows]
        return key if len(keys) == 1 and len(set(places)) == len(places) else ""

    @property
    def ticks(self) -> list[str]:
        """What stands along the panel, in its order."""
        return sorted({self.place(row) for row in self.rows}, key=_counted)

    def place(self, row: Row) -> str:
        """Where `row` stands: the size of its product, or its value of the setting that is swept."""
        if not self.swept:
            return str(row.axes[self.axis])
        return str(row.settings.get(self.swept, "default"))

    @property
    def title(self) -> str:
        """``cifar10 · dc · profile fast``, with the size where it is not what the panel is about."""
        sizes = {row.axes[self.axis] for row in self.rows} if self.swept else set()
        words = [describe(self.rest), *(f"{self.axis} {size}" for size in sizes), self.protocol]
        return " · ".join(filter(None, [*words, f"profile {self.profile}" if self.profile else ""]))

    @property
    def naming(self) -> Naming:
        """The names of the lines."""
        return Naming(self.rows)

    def lines(self) -> dict[str, dict[str, Row]]:
        """The row of each place, by the name of the line."""
        lines: dict[str, dict[str, Row]] = {}
        for row in together(self.rows):
            name = row.method if self.swept else self.naming(row)
            lines.setdefault(name, {})[self.place(row)] = row
        return lines

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, where a row is near it: not above three times as much."""
        level = chance_of(str(self.rest.get("dataset", ""))) if self.metric == "accuracy" else None
        near = level is not None and any((row.mean or 0.0) <= 3 * level for row in self.rows)
        return level if near else None

    @property
    def remark(self) -> str:
        """What stands below the panel: what all rows share, and whether they mean anything."""
        return "; ".join(filter(None, [self.naming.above, MEANINGLESS if self.profile == "smoke" else ""]))


def _against(path: Path, table: Sequence[Row], metrics: Sequence[str], axis: str, label: str) -> bool:
    """One panel for each problem (but its size, the `axis`), metric, protocol and profile."""
    panels = _panels(table, metrics, axis)
    if not panels:
        return False
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines()))

    def draw(figure: Figure, plots: list[Plot]) -> None:
        for plot, panel in zip(plots, panels, strict=True):
            _lines(plot, panel.lines(), names, panel.ticks)
            for level, dash in ((panel.ceiling, "--"), (panel.chance, ":")):
                if level is not None:
                    plot.axhline(level, color="#777777", linestyle=dash, linewidth=1, zorder=1)
            _dress(plot, panel)
            about = panel.swept.removeprefix("method.") or label
            plot.set_xlabel("\n".join([about, *textwrap.wrap(panel.remark, int(_PANEL[0] / _LETTER))]))
        papers = any(row.paper is not None for panel in panels for row in panel.rows)
        levels = {"full data": [p.ceiling for p in panels], "chance": [p.chance for p in panels]}
        _legend(
            figure, names, papers, [name for name, at in levels.items() if any(a is not None for a in at)]
        )

    return save_figure(path, len(panels), _PANEL, draw)


def _panels(table: Sequence[Row], metrics: Sequence[str], axis: str) -> list[Panel]:
    panels: dict[tuple[object, ...], Panel] = {}
    for row in table:
        wanted = row.mean is not None and row.metric in metrics and not row.facets
        own = row.axes.get("student") == row.axes.get("distiller")
        if not (wanted and own and _is_size(row.axes.get(axis))):
            continue
        rest = {name: value for name, value in row.axes.items() if name != axis}
        place = (row.metric, row.protocol, row.profile)
        panel = panels.setdefault(
            (axes_key(rest), *place), Panel(axis, rest, *place, _ceiling(table, rest, row))
        )
        panel.rows.append(row)
    return list(panels.values())


def _is_size(value: Axis | None) -> bool:
    """Whether it is a number, or one of canvases: ``10x4``."""
    return isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"\d+x\d+", value) is not None)


def _lines(
    axes: Plot, lines: Mapping[str, Mapping[str, Row]], names: Sequence[str], ticks: Sequence[str]
) -> None:
    """Every method a little aside of the next, so that bars do not hide one another."""
    for name, line in lines.items():
        index = names.index(name)
        colour, marker, dash = _look(index)
        aside = 0.25 * ((index + 0.5) / len(names) - 0.5)
        places = sorted(line, key=ticks.index)
        ours = [(ticks.index(place) + aside, line[place]) for place in places]
        xs, bars = [x for x, _ in ours], [row.std or 0.0 for _, row in ours]
        means = [row.mean or 0.0 for _, row in ours]
        joined = dash if all(map(_is_number, ticks)) else "none"  # words have no order
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "linewidth": 1.5,
            "linestyle": joined,
        }
        axes.errorbar(xs, means, bars, capsize=2.5, **look)
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
    ticks, values = panel.ticks, [row.mean for row in panel.rows if row.mean]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlim(-0.4, len(ticks) - 0.6)
    axes.set_ylabel(f"{heading(panel.metric)}, bars: std")
    if panel.metric != "accuracy" and values and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    axes.set_title(panel.title)


def _legend(figure: Figure, names: Sequence[str], papers: bool, levels: Sequence[str]) -> None:
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
    for name in levels:
        dash: Literal["--", ":"] = "--" if name == "full data" else ":"
        handles.append(Line2D([], [], color="#777777", linestyle=dash, label=name))
    width = figure.get_figwidth() - 0.2
    labels = [_wrapped(str(handle.get_label()), width) for handle in handles]
    for handle, text in zip(handles, labels, strict=True):
        handle.set_label(text)
    columns = _columns(labels, width)
    lines = [labels[start : start + columns] for start in range(0, len(labels), columns)]
    high = sum(max(text.count("\n") + 1 for text in line) for line in lines)
    figure.set_figheight(figure.get_figheight() + 0.2 * (high - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _counted(tick: str) -> tuple[int, float, Any]:
    """Numbers by their value, words after them, and the default first, whose value is not known here."""
    place, value = (1, float(tick)) if _is_number(tick) else (0 if tick == "default" else 2, 0.0)
    return place, value, natural(tick)


def _is_number(tick: str) -> bool:
    try:
        float(tick)
    except ValueError:
        return False
    return True


def _wrapped(label: str, width: float) -> str:
    """A label in lines that fit into `width` inches."""
    return textwrap.fill(label, max(10, int((width - _HANDLE) / _LETTER)))


def _columns(labels: Sequence[str], width: float) -> int:
    """How many columns of the longest label fit into `width` inches."""
    longest = max(len(line) for label in labels for line in label.splitlines() or [""])
    return max(1, min(len(labels), int(width / (longest * _LETTER + _HANDLE))))
