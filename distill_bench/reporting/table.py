"""A table's rows: what was measured beside what the paper reports, and the files that keep them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from filelock import FileLock

from distill_bench.errors import UserError
from distill_bench.files import write_text
from distill_bench.metrics import METRICS
from distill_bench.reporting.cells import FULL, Series, natural, series_of
from distill_bench.reporting.markdown import markdown
from distill_bench.reporting.reference import Reference
from distill_bench.reporting.results import Result
from distill_bench.reporting.row import Row

__all__ = ["Row", "merge", "read_table", "rows", "write_table"]

_NUMBERS = ("mean", "std", "interval", "paper", "paper_std")
_COUNTS = ("seeds", "repeats")
_COLUMNS = [field.name for field in fields(Row)]


def rows(results: Iterable[Result], reference: Sequence[Reference] = ()) -> list[Row]:
    """One row for each metric of each cell, with the paper's number where `reference` has one.

    A number of `reference` that nothing measured has a row without ours. Where several papers tabulate the
    same number, one that was verified wins, then the first. Sorted by metric, setting and method; methods in
    the order of `reference`, then of `results`.
    """
    papers: dict[tuple[str, str, str, bool], Row] = {}
    for number in sorted(reference, key=lambda number: number.mark != "verified"):
        row = _with_paper(Row(method=number.method, setting=number.setting, metric=number.metric), number)
        papers.setdefault(row.place, row)
    found = series_of(results)
    measured = [_beside(_measured(series), papers) for series in found]
    known = {row.place for row in measured}
    empty = papers.values()
    order = [*(number.method for number in reference), *(series.method for series in found)]
    return _ordered([*measured, *(row for row in empty if row.place not in known)], order)


def merge(kept: Iterable[Row], new: Sequence[Row]) -> list[Row]:
    """`kept` with `new` put in: a key measured anew is replaced, any other measurement stays.

    An empty row gives way to any measurement of the same method, setting and metric, and brings its paper's
    number up to date.
    """
    measured = {row.key: row for row in [*kept, *new] if row.mean is not None}
    empty = {row.place: row for row in [*kept, *new] if row.mean is None}
    papers = {row.place: row for row in new if row.paper is not None}
    current = [_beside(row, papers) for row in measured.values()]
    places = {row.place for row in current}
    rest = [row for place, row in empty.items() if place not in places]
    return _ordered([*current, *rest], [row.method for row in new])


def write_table(stem: Path, new: Sequence[Row], *, title: str, command: str) -> list[Row]:
    """Merge `new` into `<stem>.csv`, write it and `<stem>.md` anew, and return all rows.

    Each file is whole or absent, and other processes that write the same table wait. UserError for a csv file
    that is not such a table.
    """
    table, text = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.md")
    stem.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(stem.with_name(f".{stem.name}.lock")):
        merged = merge(read_table(table) if table.exists() else [], new)
        write_text(table, _csv(merged))
        write_text(text, markdown(merged, title=title, command=command))
    return merged


def read_table(file: Path) -> list[Row]:
    """The rows of a csv file that `write_table` wrote. UserError for any other file."""
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != [*_COLUMNS, "gap"]:
            raise UserError(f"{file}: not a table of this program; move it away, or give another name")
        try:
            return [_row_of(line) for line in reader]
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{file}, line {reader.line_num}: {error}; mend the file or move it away"
            ) from None


def _beside(row: Row, papers: Mapping[tuple[str, str, str, bool], Row]) -> Row:
    return _same_paper(row, papers[row.place]) if row.place in papers else row


def _measured(series: Series) -> Row:
    summary = series.summary
    return Row(
        method=series.method,
        setting=series.setting,
        metric=series.metric,
        protocol=series.protocol,
        profile=series.profile,
        variant=series.variant,
        mean=summary.mean,
        std=summary.std if summary.repeats > 1 else None,
        seeds=summary.seeds,
        repeats=summary.repeats,
        interval=None if math.isnan(summary.interval) else summary.interval,
        device="; ".join(filter(None, series.devices)),
        software="; ".join(filter(None, series.software)),
        cell=series.cell,
    )


def _with_paper(row: Row, number: Reference) -> Row:
    return replace(
        row,
        paper=number.value,
        paper_std=number.std,
        paper_protocol=number.protocol,
        source=number.source,
        mark=number.mark,
    )


def _same_paper(row: Row, other: Row) -> Row:
    return replace(
        row,
        paper=other.paper,
        paper_std=other.paper_std,
        paper_protocol=other.paper_protocol,
        source=other.source,
        mark=other.mark,
    )


def _ordered(unordered: Iterable[Row], methods: Iterable[str]) -> list[Row]:
    """Metrics as in the vocabulary, settings as people count, methods as given, the ceiling last."""
    rank = {method: index for index, method in enumerate(dict.fromkeys(methods))}
    metrics = {metric: index for index, metric in enumerate(METRICS)}

    def place(row: Row) -> tuple[object, ...]:
        metric = metrics[row.metric.split()[0].split("/")[0]]
        method = (row.method == FULL, rank.get(row.method, len(rank)), row.method, natural(row.variant))
        return metric, row.metric, natural(row.setting), *method, row.protocol, row.profile

    return sorted(unordered, key=place)


def _csv(table: Iterable[Row]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_COLUMNS, "gap"])
    for row in table:
        values = [*(getattr(row, name) for name in _COLUMNS), row.gap]
        writer.writerow([f"{v:.8g}" if isinstance(v, float) else "" if v is None else v for v in values])
    return stream.getvalue()


def _row_of(line: dict[str, str]) -> Row:
    numbers = {name: float(line[name]) if line[name] else None for name in _NUMBERS}
    counts = {name: int(line[name]) for name in _COUNTS}
    words = {name: line[name] for name in _COLUMNS if name not in (*_NUMBERS, *_COUNTS)}
    return Row(**numbers, **counts, **words)  # type: ignore[arg-type]
