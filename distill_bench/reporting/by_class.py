"""Measures of single classes: files keep each of them, tables for people their range alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from distill_bench.reporting.axes import axes_key
from distill_bench.reporting.numbers import heading, single
from distill_bench.reporting.row import Row

__all__ = ["CLASS", "Classes", "by_class", "whole"]

CLASS = "class"  # the facet that names a class


@dataclass(frozen=True, kw_only=True)
class Classes:
    """One metric of the classes of one cell: the rows of the lowest and of the highest mean."""

    lowest: Row
    highest: Row
    count: int  # of the classes

    @property
    def heading(self) -> str:
        """``class cmi (nat): 10 classes, lowest 3, highest 8``."""
        facets = {name: text for name, text in self.lowest.facets.items() if name != CLASS}
        ends = f"lowest {self.lowest.facets[CLASS]}, highest {self.highest.facets[CLASS]}"
        return f"{heading(self.lowest.metric, facets)}: {self.count} classes, {ends}"

    @property
    def ours(self) -> str:
        """``0.012 to 0.13``: the means over seeds and repeats."""
        ends = (single(_mean(row), row.metric) for row in (self.lowest, self.highest))
        return " to ".join(ends)


def whole(rows: Iterable[Row]) -> list[Row]:
    """The rows of measures of all classes together."""
    return [row for row in rows if CLASS not in row.facets]


def by_class(rows: Iterable[Row]) -> list[Classes]:
    """The measured rows of single classes, of each metric and cell together, in their order."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if CLASS in row.facets and row.mean is not None:
            facets = {name: text for name, text in row.facets.items() if name != CLASS}
            cell = (row.method, row.metric, row.protocol, row.profile, row.changes, axes_key(row.axes))
            groups.setdefault((*cell, axes_key(facets)), []).append(row)
    return [
        Classes(lowest=min(group, key=_mean), highest=max(group, key=_mean), count=len(group))
        for group in groups.values()
    ]


def _mean(row: Row) -> float:
    assert row.mean is not None
    return row.mean
