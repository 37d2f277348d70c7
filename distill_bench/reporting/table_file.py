"""A table as a csv file, with every row in full."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_bench.errors import UserError
from distill_bench.reporting.columns import all_axes, axes_of, axis_columns, lines_of
from distill_bench.reporting.numbers import metric_of
from distill_bench.reporting.row import Row

__all__ = ["read_table", "table_text"]

_NUMBERS = ("mean", "std", "interval", "paper", "paper_std")
_COUNTS = ("seeds", "repeats")
_MAPPINGS = ("facets", "settings")  # as JSON
_AFTER_AXES = [
    *("metric", "facets", "protocol", "profile", "settings"),
    *("mean", "std", "seeds", "repeats", "interval"),
    *("paper", "paper_std", "mark", "source", "paper_protocol"),
    *("size", "data", "device", "software"),
    "gap",
]
_OPTIONAL = ("values", "command")  # columns that are left out where no row has them


def table_text(table: Sequence[Row]) -> str:
    """The content of the csv file of `table`."""
    axes = all_axes(row.axes for row in table)
    more = [name for name in _OPTIONAL if any(getattr(row, name) for row in table)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", *axes, *_AFTER_AXES, *more])
    for row in table:
        values = [row.method, *(row.axes.get(name) for name in axes)]
        writer.writerow(
            [*map(str, _filled(values)), *(_cell(getattr(row, name)) for name in [*_AFTER_AXES, *more])]
        )
    return stream.getvalue()


def read_table(file: Path) -> list[Row]:
    """The rows of a csv file that `table_text` wrote. UserError for any other file."""
    columns, lines = lines_of(file)
    axes = axis_columns(columns, [*_AFTER_AXES, *(name for name in _OPTIONAL if name in columns)])
    if not axes:
        raise UserError(
            f"{file}: not a table of this program and version; move it away, or give another name"
        )
    return [_row_of(file, place, line, axes) for place, line in lines]


def _row_of(file: Path, place: int, line: Mapping[str, str], axes: Sequence[str]) -> Row:
    try:
        row = _parsed(line, axes)
        metric_of(row.metric)
    except KeyError as error:
        wrong = f"unknown metric {error}"
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    else:
        return row
    raise UserError(f"{file}, line {place}: {wrong}; mend the file or move it away")


def _parsed(line: Mapping[str, str], axes: Sequence[str]) -> Row:
    parts: dict[str, Any] = {name: _number(line[name]) for name in _NUMBERS}
    parts |= {name: int(line[name]) for name in _COUNTS}
    parts |= {name: _mapping(line[name]) for name in _MAPPINGS}
    parts |= {name: line[name] for name in _AFTER_AXES if name not in parts and name != "gap"}
    parts |= {"values": _values(line.get("values", "")), "command": line.get("command", "")}
    return Row(method=line["method"], axes=axes_of(line, axes), **parts)


def _number(text: str) -> float | None:
    if not text:
        return None
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not finite")
    return value


def _values(text: str) -> tuple[float, ...]:
    return tuple(number for part in text.split() if (number := _number(part)) is not None)


def _mapping(text: str) -> dict[str, Any]:
    mapping = json.loads(text) if text else {}
    if not isinstance(mapping, dict):
        raise ValueError(f"{text} is not a JSON object")
    return mapping


def _filled(values: Sequence[Any]) -> list[Any]:
    return ["" if value is None else value for value in values]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, tuple):
        return " ".join(map(_cell, value))
    if isinstance(value, Mapping):
        return json.dumps(dict(value), sort_keys=True, ensure_ascii=False) if value else ""
    return "" if value is None else str(value)
