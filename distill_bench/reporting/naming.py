"""Names of lines that stand together in a table or a figure: as short as tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distill_bench.reporting.axes import (
    Settings,
    named_teacher,
    of_the_measure,
    setting_words,
    shared_settings,
)
from distill_bench.reporting.cells import FULL
from distill_bench.reporting.row import Row

__all__ = ["Naming", "together"]


class Naming:
    """Names the rows it was given: the method, with those settings in which rows differ.

    Settings that all rows share are `shared` and stand above them all. A row without a setting that another
    row of its method has is named by it as well: ``dsa [iterations=default]`` beside ``dsa [iterations=67]``.
    What learned from a teacher is named with it: ``kd from resnet56``.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        ours = [row for row in rows if row.method != FULL]
        self.shared: Settings = shared_settings([row.settings for row in ours])
        self._names: dict[str, dict[str, None]] = {}
        for row in ours:
            names = self._names.setdefault(row.method, {})
            names |= dict.fromkeys(name for name in row.settings if name not in self.shared)

    @property
    def above(self) -> str:
        """The shared settings in words."""
        return ", ".join(setting_words(self.shared))

    def __call__(self, row: Row) -> str:
        """The name of the line of `row`."""
        method, shown = ("full data", row.settings) if row.method == FULL else (row.method, self._shown(row))
        teacher = named_teacher(row.axes)
        method = f"{method} from {teacher}" if teacher else method
        words = [*setting_words(shown), *([row.note] if row.note else [])]
        return f"{method} [{', '.join(words)}]" if words else method

    def _shown(self, row: Row) -> Mapping[str, Any]:
        names = self._names.get(row.method, {})
        return of_the_measure({name: row.settings.get(name, "default") for name in names}, row.facets)


def together(rows: Iterable[Row]) -> list[Row]:
    """The rows in their order, but for those of one method, which follow one another."""
    methods: dict[str, list[Row]] = {}
    for row in rows:
        methods.setdefault(row.method, []).append(row)
    return [row for group in methods.values() for row in group]
