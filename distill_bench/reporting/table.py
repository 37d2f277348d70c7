"""A table's rows: what was measured beside what the paper reports, and the files that keep them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from distill_bench.files import write_text
from distill_bench.metrics import FEWEST
from distill_bench.reporting.axes import natural, sort_key
from distill_bench.reporting.cells import FULL, Series, series_of
from distill_bench.reporting.markdown import markdown
from distill_bench.reporting.numbers import rank
from distill_bench.reporting.reference import Reference
from distill_bench.reporting.results import Result, say
from distill_bench.reporting.row import Row
from distill_bench.reporting.table_file import read_table, table_text

__all__ = ["Row", "merge", "read_table", "rows", "write_table"]

Papers = Mapping[tuple[object, ...], Row]


def rows(results: Iterable[Result], reference: Sequence[Reference] = ()) -> list[Row]:
    """One row for each metric of each cell, with the paper's number where `reference` has one.

    A number of `reference` that nothing measured has a row without ours. Where several papers tabulate the
    same number, one that was verified wins, then the first. Sorted by metric, axes and method; methods in
    the order of `reference`, then of `results`.
    """
    papers: dict[tuple[object, ...], Row] = {}
    for number in sorted(reference, key=lambda number: number.mark != "verified"):
        row = _of_paper(number)
        papers.setdefault(row.place, row)
    series = series_of(results)
    ours = [_beside(_of_series(each), papers) for each in series]
    places = {row.place for row in ours}
    empty = [row for place, row in papers.items() if place not in places]
    order = [*(number.method for number in reference), *(each.method for each in series)]
    return _ordered([*_noted(ours), *empty], order)


def merge(kept: Iterable[Row], new: Sequence[Row], warn: Callable[[str], None] | None = None) -> list[Row]:
    """`kept` with `new` put in: a row takes the place of one of equal key and data, any other stays.

    A row of more seeds is not replaced by one of fewer: it stays, and a line given to `warn` (None: printed)
    says so. An empty row gives way to any measurement of the same method, axes and metric, and brings its
    paper's number up to date.
    """
    before = [*kept]
    cells: dict[tuple[object, ...], list[Row]] = {}
    for row in before:
        if row.mean is not None:
            cells.setdefault(row.key, []).append(row)
    for row in new:
        if row.mean is not None:
            _put(cells.setdefault(row.key, []), row, warn or say)
    papers = {row.place: row for row in new if row.paper is not None}
    current = [_beside(row, papers) for cell in cells.values() for row in cell]
    places = {row.place for row in current}
    empty = {row.place: row for row in [*before, *new] if row.mean is None}
    rest = [row for place, row in empty.items() if place not in places]
    return _ordered([*_noted(current), *rest], [row.method for row in [*new, *before]])


def write_table(
    stem: Path,
    new: Sequence[Row],
    *,
    title: str,
    warn: Callable[[str], None] | None = None,
) -> list[Row]:
    """Merge `new` into `<stem>.csv`, write it and `<stem>.md` anew, and return all rows.

    Each file is whole or absent, and other processes that write the same table wait. UserError for a csv file
    that is not such a table.
    """
    table, text = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.md")
    stem.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(stem.with_name(f".{stem.name}.lock")):
        merged = merge(read_table(table) if table.exists() else [], new, warn)
        write_text(table, table_text(merged))
        write_text(text, markdown(merged, title=title))
    return merged


def _put(cell: list[Row], row: Row, warn: Callable[[str], None]) -> None:
    """Put `row` into the rows of its key, in the place of the one that has its data."""
    for index, rival in enumerate(cell):
        if rival.data and row.data and rival.data != row.data:
            continue
        if (rival.seeds, rival.repeats) > (row.seeds, row.repeats):
            warn(
                f"kept {_name(row)}: the table's row has n = {rival.count}, what is on disk only {row.count}"
            )
        else:
            cell[index] = row
        return
    cell.append(row)


def _name(row: Row) -> str:
    return " · ".join(filter(None, [row.method, row.cell, row.metric, row.changes]))


def _noted(ours: Iterable[Row]) -> list[Row]:
    """Rows of equal key were measured on different data: note which."""
    listed = list(ours)
    data: dict[tuple[object, ...], set[str]] = {}
    for row in listed:
        data.setdefault(row.key, set()).add(row.data)
    notes = [f"data={row.data or 'unknown'}" if len(data[row.key]) > 1 else "" for row in listed]
    return [replace(row, note=note) for row, note in zip(listed, notes, strict=True)]


def _beside(row: Row, papers: Papers) -> Row:
    """`row` with the paper's number, where there is one."""
    other = papers.get(row.place)
    if other is None:
        return row
    names = ("paper", "paper_std", "paper_protocol", "source", "mark")
    return replace(row, **{name: getattr(other, name) for name in names})


def _of_series(series: Series) -> Row:
    summary = series.summary
    return Row(
        method=series.method,
        axes=series.axes,
        metric=series.metric,
        facets=series.facets,
        protocol=series.protocol,
        profile=series.profile,
        settings=series.settings,
        mean=summary.mean,
        std=summary.std if summary.repeats > 1 else None,
        seeds=summary.seeds,
        repeats=summary.repeats,
        interval=None if math.isnan(summary.interval) else summary.interval,
        values=summary.units if len(summary.units) < FEWEST else (),
        size=series.size,
        data=series.data,
        device="; ".join(filter(None, series.devices)),
        software="; ".join(filter(None, series.software)),
    )


def _of_paper(number: Reference) -> Row:
    return Row(
        method=number.method,
        axes=number.axes,
        metric=number.metric,
        paper=number.value,
        paper_std=number.std,
        paper_protocol=number.protocol,
        source=number.source,
        mark=number.mark,
    )


def _ordered(unordered: Iterable[Row], methods: Iterable[str]) -> list[Row]:
    """Metrics as in the vocabulary, axes as people count, methods as given, the ceiling last."""
    place_of = {method: index for index, method in enumerate(dict.fromkeys(methods))}

    def place(row: Row) -> tuple[object, ...]:
        metric = (rank(row.metric), row.metric, sorted(row.facets.items()))
        method = (row.method == FULL, place_of.get(row.method, len(place_of)), row.method)
        return *metric, sort_key(row.axes), *method, natural(row.changes), row.protocol, row.profile

    return sorted(unordered, key=place)
