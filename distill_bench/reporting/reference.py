"""The papers' own numbers, from `results/reference/<paper>_table<n>.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from distill_bench.errors import UserError

__all__ = ["MARKS", "Reference", "read_reference", "reference_file", "reference_folder"]

MARKS = {
    "verified": "read in the named source",
    "recalled": "from memory of the literature, not checked against the source",
    "design": "ours, computed where the paper gives no number",
}
_COLUMNS = ("method", "setting", "metric", "value", "std", "protocol", "source", "mark")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One number of a paper's table; `std` is None where the paper gives none."""

    method: str
    setting: str
    metric: str
    value: float
    std: float | None
    protocol: str  # how the paper measured it, in words
    source: str
    mark: str  # a key of MARKS


def reference_folder(results_root: Path) -> Path:
    """Where the reference files lie: under `results_root`, in this checkout, or inside the installed
    package."""
    package = Path(__file__).resolve().parent.parent
    places = [root / "reference" for root in (results_root, package.parent / "results", package)]
    return next((place for place in places if place.is_dir()), places[0])


def read_reference(folder: Path) -> list[Reference]:
    """The numbers of all tables in `folder`, table by table; none if there is no such folder."""
    return [number for file in sorted(folder.glob("*.csv")) for number in reference_file(file)]


def reference_file(file: Path) -> list[Reference]:
    """The numbers of one table, in its order. UserError naming the line for a file that has not this form."""
    numbers = []
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise UserError(f"{file}: columns {reader.fieldnames}: must be {', '.join(_COLUMNS)}")
        for row in reader:
            try:
                value, std = float(row["value"]), float(row["std"]) if row["std"] else None
            except (TypeError, ValueError):
                raise UserError(f"{file}, line {reader.line_num}: value and std must be numbers") from None
            if row["mark"] not in MARKS:
                raise UserError(
                    f"{file}, line {reader.line_num}: mark={row['mark']}: must be {', '.join(MARKS)}"
                )
            words = {key: row[key] for key in ("method", "setting", "metric", "protocol", "source", "mark")}
            numbers.append(Reference(**words, value=value, std=std))
    return numbers
