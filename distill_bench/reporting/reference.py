"""The papers' own numbers, from `results/reference/<paper>_table<n>.csv`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from distill_bench.errors import UserError
from distill_bench.metrics import METRICS
from distill_bench.reporting.axes import Axes
from distill_bench.reporting.columns import axes_of, axis_columns, lines_of

__all__ = ["MARKS", "Reference", "read_reference", "reference_file", "reference_folder"]

MARKS = {
    "verified": "read in the named source",
    "recalled": "from memory of the literature, not checked against the source",
    "design": "ours, computed where the paper gives no number",
}
_AFTER_AXES = ["metric", "value", "std", "protocol", "source", "mark"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One number of a paper's table; `std` is None where the paper gives none."""

    method: str
    axes: Axes
    metric: str
    value: float
    std: float | None
    protocol: str  # how the paper measured it, in words
    source: str
    mark: str  # a key of MARKS


def reference_folder(results_root: Path) -> Path:
    """Where the reference files lie: under `results_root`, in this checkout, or in the installed package."""
    package = Path(__file__).resolve().parent.parent
    places = [root / "reference" for root in (results_root, package.parent / "results", package)]
    return next((place for place in places if place.is_dir()), places[0])


def read_reference(folder: Path, warn: Callable[[str], None] | None = None) -> list[Reference]:
    """The numbers of all tables in `folder`, table by table; none if there is no such folder.

    UserError for a file that has not the form of one, or only a line given to `warn` if that is not None.
    """
    numbers = []
    for file in sorted(folder.glob("*.csv")):
        try:
            numbers += reference_file(file)
        except UserError as error:
            if warn is None:
                raise
            warn(f"skipped {error}")
    return numbers


def reference_file(file: Path) -> list[Reference]:
    """The numbers of one table, in its order. UserError naming the line for a file that has not this form."""
    return list(_numbers(file))


def _numbers(file: Path) -> Iterator[Reference]:
    columns, lines = lines_of(file)
    axes = axis_columns(columns, _AFTER_AXES)
    if not axes:
        raise UserError(
            f"{file}: columns {', '.join(columns)}: must be method, the axes, {', '.join(_AFTER_AXES)}"
        )
    for place, line in lines:
        try:
            yield _number(line, axes)
        except ValueError as error:
            raise UserError(f"{file}, line {place}: {error}") from None


def _number(line: Mapping[str, str], axes: list[str]) -> Reference:
    try:
        value, std = float(line["value"]), float(line["std"]) if line["std"] else None
    except ValueError:
        raise ValueError("value and std must be numbers") from None
    if not math.isfinite(value) or not math.isfinite(std or 0.0):
        raise ValueError("value and std must be finite")
    if line["mark"] not in MARKS:
        raise ValueError(f"mark={line['mark']}: must be {', '.join(MARKS)}")
    if line["metric"] not in METRICS:
        raise ValueError(f"unknown metric {line['metric']}")
    words = {key: line[key] for key in ("method", "metric", "protocol", "source", "mark")}
    return Reference(**words, axes=axes_of(line, axes), value=value, std=std)
