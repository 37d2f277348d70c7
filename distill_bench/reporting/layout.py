"""Rows laid out as papers print them: methods down, settings across."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from distill_bench.reporting.cells import FULL, without_ipc
from distill_bench.reporting.numbers import gain
from distill_bench.reporting.row import Row

__all__ = ["Pivot", "Section", "pivots"]


@dataclass
class Section:
    """One metric: for each method (with its variant) its row in each column."""

    metric: str
    lines: dict[str, dict[str, Row]] = field(default_factory=dict)
    best: dict[str, str] = field(default_factory=dict)  # column -> the line with the best mean

    @property
    def count(self) -> str:
        """Seeds by repeats where all cells agree (the ceiling aside), else empty."""
        counts = {row.count for line in self.lines.values() for row in line.values() if row.method != FULL}
        return counts.pop() if len(counts) == 1 else ""

    def find_best(self) -> None:
        """Name the best line of every column where two methods or more compete; the ceiling does not."""
        for column in {column for line in self.lines.values() for column in line}:
            scores: dict[str, float] = {}
            for name, line in self.lines.items():
                row = line.get(column)
                score = None if row is None or row.mean is None else gain(row.mean, self.metric)
                if score is not None and row is not None and row.method != FULL:
                    scores[name] = score
            if len(set(scores.values())) > 1:
                self.best[column] = max(scores, key=lambda name: scores[name])


@dataclass
class Pivot:
    """Everything measured on one data set (or family of mixtures) under one protocol and profile."""

    family: str
    protocol: str
    profile: str
    columns: list[str] = field(default_factory=list)  # settings, without the family
    sections: list[Section] = field(default_factory=list)

    @property
    def title(self) -> str:
        """``digits · protocol dc · profile fast``."""
        protocol = f"protocol {self.protocol}" if self.protocol else ""
        profile = f"profile {self.profile}" if self.profile else ""
        return " · ".join(filter(None, [self.family, protocol, profile]))

    @property
    def compared(self) -> bool:
        """Whether a paper's number stands beside any of the cells."""
        return any(
            r.paper is not None for s in self.sections for line in s.lines.values() for r in line.values()
        )


def pivots(rows: Iterable[Row]) -> list[Pivot]:
    """The measured rows, laid out; the order of `rows` is kept in lines and columns.

    The accuracy on the whole training set is a line of the section of accuracies, repeated in every column it
    belongs to.
    """
    measured = [row for row in rows if row.mean is not None]
    found: dict[tuple[str, str, str], Pivot] = {}
    for row in (row for row in measured if row.method != FULL):
        pivot, column = _pivot(found, row), row.setting.partition(" ")[2]
        if column not in pivot.columns:
            pivot.columns.append(column)
        _section(pivot, row.metric).lines.setdefault(row.name, {})[column] = row
    for row in (row for row in measured if row.method == FULL):
        pivot = _pivot(found, row)
        columns = [c for c in pivot.columns if without_ipc(f"{pivot.family} {c}".strip()) == row.setting]
        if not pivot.columns:
            columns = pivot.columns = [row.setting.partition(" ")[2]]
        line = _section(pivot, "accuracy").lines.setdefault(replace(row, method="full data").name, {})
        line.update(dict.fromkeys(columns, row))
    for section in (section for pivot in found.values() for section in pivot.sections):
        section.find_best()
    return list(found.values())


def _pivot(found: dict[tuple[str, str, str], Pivot], row: Row) -> Pivot:
    family = row.setting.partition(" ")[0]
    return found.setdefault((family, row.protocol, row.profile), Pivot(family, row.protocol, row.profile))


def _section(pivot: Pivot, metric: str) -> Section:
    section = next((section for section in pivot.sections if section.metric == metric), None)
    if section is None:
        section = Section(metric)
        pivot.sections.append(section)
    return section
