"""Rows laid out as papers print them: methods down, problems across."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from distill_bench.reporting.axes import Axes, axes_key, describe, parts, varying, words
from distill_bench.reporting.by_class import whole
from distill_bench.reporting.cells import FULL
from distill_bench.reporting.naming import Naming, together
from distill_bench.reporting.numbers import gain, heading
from distill_bench.reporting.row import Row

__all__ = ["MEANINGLESS", "Pivot", "Section", "leading", "pivots"]

MEANINGLESS = "profile smoke only shows that it runs: these numbers mean nothing"


@dataclass
class Section:
    """One metric: for each method (with its settings) its row in each column."""

    metric: str
    facets: Mapping[str, str]
    lines: dict[str, dict[str, Row]] = field(default_factory=dict)
    best: dict[str, frozenset[str]] = field(default_factory=dict)  # column -> the lines that lead it

    @property
    def heading(self) -> str:
        """The metric in words."""
        return heading(self.metric, self.facets)

    @property
    def count(self) -> str:
        """Seeds by repeats where all cells agree (the ceiling aside), else empty."""
        counts = {row.count for line in self.lines.values() for row in line.values() if row.method != FULL}
        return counts.pop() if len(counts) == 1 else ""

    def find_best(self) -> None:
        """Name the lines that lead each column: see `leading`. The ceiling does not compete."""
        for column in {column for line in self.lines.values() for column in line}:
            rivals = {name: line[column] for name, line in self.lines.items() if column in line}
            rivals = {name: row for name, row in rivals.items() if row.method != FULL}
            self.best[column] = leading(rivals)


def leading(rivals: Mapping[str, Row]) -> frozenset[str]:
    """The names of the best row of a column, and of all that the noise does not tell apart from it.

    Two rows are told apart if their 95 % intervals do not overlap; a row without one is taken to be as
    uncertain as the best. None, if the best has no interval, if its profile means nothing, for a metric
    without a better side, and if no row is behind the others.
    """
    scores = {
        name: score
        for name, row in rivals.items()
        if row.mean is not None and (score := gain(row.mean, row.metric)) is not None
    }
    if not scores:
        return frozenset()
    first = max(scores, key=lambda name: scores[name])
    best = rivals[first]
    if not best.sure or best.meaningless:
        return frozenset()
    own = best.interval or 0.0
    reach = {name: own + ((row.interval or 0.0) if row.sure else own) for name, row in rivals.items()}
    level = frozenset(name for name, score in scores.items() if scores[first] - score <= reach[name])
    return level if len(level) < len(scores) else frozenset()


@dataclass
class Pivot:
    """Everything measured on one data set (or family of mixtures) under one protocol and profile."""

    family: str  # the axes that all cells share, in words
    protocol: str
    profile: str
    settings: str  # that all cells share, in words
    columns: list[str] = field(default_factory=list)  # the other axes, in words
    sections: list[Section] = field(default_factory=list)

    @property
    def title(self) -> str:
        """``digits · protocol dc · profile fast``."""
        protocol = f"protocol {self.protocol}" if self.protocol else ""
        profile = f"profile {self.profile}" if self.profile else ""
        return " · ".join(filter(None, [self.family, protocol, profile, self.settings]))

    @property
    def remarks(self) -> list[str]:
        """What stands under the title: the size of the evaluation, and whether the numbers mean anything."""
        rows = [row for section in self.sections for line in section.lines.values() for row in line.values()]
        sizes = "; ".join(dict.fromkeys(row.size for row in rows if row.size and row.method != FULL))
        return [*([sizes] if sizes else []), *([MEANINGLESS] if any(row.meaningless for row in rows) else [])]

    @property
    def data(self) -> str:
        """The first axis: the data set, or the family of mixtures."""
        row = next(
            row for section in self.sections for line in section.lines.values() for row in line.values()
        )
        return str(next(iter(row.axes.values()), ""))

    @property
    def main(self) -> list[Section]:
        """The sections that stand first: accuracies, or else the first three."""
        accuracies = [section for section in self.sections if "accuracy" in section.metric]
        return accuracies or self.sections[:3]

    @property
    def others(self) -> list[Section]:
        """All other sections."""
        return [section for section in self.sections if section not in self.main]

    @property
    def compared(self) -> bool:
        """Whether any of the cells can be compared with a paper's number."""
        return any(
            row.gap is not None
            for section in self.sections
            for line in section.lines.values()
            for row in line.values()
        )


def pivots(rows: Iterable[Row]) -> list[Pivot]:
    """The measured rows, laid out; the order of `rows` is kept, the lines of a method stand together.

    The accuracy on the whole training set is a line of the section of accuracies, repeated in every column it
    belongs to. Measures of single classes are left out.
    """
    families: dict[tuple[str, str, str], list[Row]] = {}
    for row in whole(rows):
        if row.mean is not None:
            first = next(iter(row.axes.values()), "")
            families.setdefault((str(first), row.protocol, row.profile), []).append(row)
    return [_pivot(family) for family in families.values()]


def _pivot(rows: Sequence[Row]) -> Pivot:
    """The table of rows that share their first axis, protocol and profile."""
    ours = [row for row in rows if row.method != FULL]
    ceilings = [row for row in rows if row.method == FULL]
    problems = {axes_key(axes): axes for axes in map(_problem, ours or ceilings)}
    family, columns = _texts(list(problems.values()))
    naming = Naming(rows)
    pivot = Pivot(family, rows[0].protocol, rows[0].profile, naming.above, columns)
    column_of = dict(zip(problems, columns, strict=True))
    for row in together(ours):
        line = _section(pivot, row.metric, row.facets).lines.setdefault(naming(row), {})
        line[column_of[axes_key(_problem(row))]] = row
    for row in ceilings:
        covered = [column_of[key] for key, axes in problems.items() if row.axes.items() <= axes.items()]
        line = _section(pivot, "accuracy", {}).lines.setdefault(naming(row), {})
        line.update(dict.fromkeys(covered, row))
    for section in pivot.sections:
        section.find_best()
    return pivot


def _problem(row: Row) -> Axes:
    """The axes of a column: what is measured on a product alone stands where its own network is evaluated.

    A teacher names the line, so that what learned with and without one stands in one column.
    """
    axes = {name: value for name, value in row.axes.items() if name != "teacher"}
    return {**axes, "student": axes["distiller"]} if _lacks_student(row) else axes


def _lacks_student(row: Row) -> bool:
    return "distiller" in row.axes and "student" not in row.axes


def _texts(problems: Sequence[Axes]) -> tuple[str, list[str]]:
    """What all problems share, in words, and the rest of each: all but the first axis of a single one."""
    changing = varying(problems)
    if not changing:
        first, *rest = parts(problems[0])
        return first, [" · ".join(rest)]
    shared = {name: value for name, value in problems[0].items() if name not in changing}
    return describe(shared), [" · ".join(words(_only(axes, changing))) for axes in problems]


def _only(axes: Axes, names: Sequence[str]) -> Axes:
    return {name: axes[name] for name in names if name in axes}


def _section(pivot: Pivot, metric: str, facets: Mapping[str, str]) -> Section:
    for section in pivot.sections:
        if (section.metric, section.facets) == (metric, facets):
            return section
    pivot.sections.append(Section(metric, facets))
    return pivot.sections[-1]
