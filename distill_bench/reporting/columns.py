"""The csv form of tables: a column for each axis, between the columns `method` and `metric`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from distill_bench.errors import UserError
from distill_bench.reporting.axes import Axes, axis_value

__all__ = ["all_axes", "axes_of", "axis_columns", "lines_of"]


def lines_of(file: Path) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    """The columns of a csv file, and each line with its number. UserError if it cannot be read so."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream, strict=True)
            columns = next(reader, [])
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file ({error.reason})") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{file}: {error}") from None
    for place, cells in lines:
        if len(cells) != len(columns):
            raise UserError(f"{file}, line {place}: {len(cells)} cells in {len(columns)} columns")
    return columns, [(place, dict(zip(columns, cells, strict=True))) for place, cells in lines]


def axis_columns(columns: Sequence[str], after: Sequence[str]) -> list[str]:
    """The columns between `method` and those of `after`; none if there are none, or the rest differs.

    An earlier version had one column `setting` in their place.
    """
    axes = list(columns[1 : -len(after)])
    right = list(columns) == ["method", *axes, *after] and len(set(columns)) == len(columns)
    return axes if right and "setting" not in axes and all(name.isidentifier() for name in axes) else []


def axes_of(line: Mapping[str, str], names: Iterable[str]) -> Axes:
    """The axes of a line; an empty cell is none."""
    return {name: axis_value(line[name]) for name in names if line[name]}


def all_axes(many: Iterable[Axes]) -> list[str]:
    """The names of all axes of a table: in the order of the row that has most, then as they are met."""
    return list(dict.fromkeys(name for axes in sorted(many, key=len, reverse=True) for name in axes))
