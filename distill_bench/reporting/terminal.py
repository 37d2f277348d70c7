"""Results on the terminal: one run, or the table of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_bench.reporting.by_class import by_class, whole
from distill_bench.reporting.cells import FULL
from distill_bench.reporting.experiment_table import fill_table, results_of_sweep
from distill_bench.reporting.layout import Pivot, pivots
from distill_bench.reporting.numbers import heading, span
from distill_bench.reporting.results import Result, parse_result
from distill_bench.reporting.row import Row
from distill_bench.reporting.table import rows

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

__all__ = ["pivot", "run_table", "show_result", "show_sweep"]


def show_result(
    result: Mapping[str, Any],
    runs_root: Path,
    console: Console | None = None,
    *,
    products_root: Path | None = None,
) -> None:
    """Print the measures of one run, and where its files lie. `result` is what its `result.json` holds."""
    from rich.markup import escape

    run = parse_result(result, runs_root / str(result.get("run_id")), products_root=products_root)
    console = console or _console()
    console.print(run_table(run))
    took = span(float(run.provenance.get("seconds", 0.0)))
    console.print(f"{took} on {escape(str(run.provenance.get('device', 'unknown device')))}", style="dim")
    for role in {**run.product.artifacts, **run.artifacts}:
        if file := run.artifact(role):
            console.print(escape(f"{role}: {file}"), style="dim", soft_wrap=True)


def show_sweep(
    run_ids: Sequence[str],
    runs_root: Path,
    results_root: Path,
    experiment: str,
    console: Console | None = None,
    *,
    command: str = "",
    products_root: Path | None = None,
) -> None:
    """Print the table of a sweep's cells; for an experiment, merge it into the experiment's table.

    A cell is shown with all its seeds that lie under `runs_root`, of this sweep or an earlier one. `command`
    is the sweep's command line, which the table names. UserError or OSError if the table cannot be written.
    """
    from rich.markup import escape

    results = results_of_sweep(run_ids, runs_root, products_root)
    console = console or _console()
    if results:
        console.print(pivot(results))
        _show_pictures(results, console)
    for file in fill_table(results, results_root, experiment, command) if experiment else []:
        console.print(escape(f"table: {file}"), style="dim", soft_wrap=True)


def _show_pictures(results: Sequence[Result], console: Console) -> None:
    """Where the picture of each method's first run lies."""
    from rich.markup import escape

    pictures = {result.method: result.artifact("picture") for result in reversed(results)}
    for method, picture in reversed(pictures.items()):
        if picture is not None:
            console.print(escape(f"picture of {method}: {picture}"), style="dim", soft_wrap=True)


def pivot(results: Iterable[Result]) -> Group:
    """Methods down, problems across, mean ± std; a table for each data set, protocol and profile.

    The best of each column is bold; the whole training set has its own row.
    """
    from rich.console import Group

    return Group(*(part for layout in pivots(rows(results)) for part in _pivot_table(layout)))


def run_table(result: Result) -> Group:
    """The measures of one run: mean ± std over its repeats, how many, and the 95 % interval.

    Of single classes the lowest and the highest. What all rows are about stands above them.
    """
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(**_look())
    table.add_column("measure")
    for name in ("mean ± std", "repeats", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    table_rows = rows([result])
    about = {(row.cell, row.changes) for row in table_rows}
    shared = about.pop() if len(about) == 1 else ()
    for row in whole(table_rows):
        words = [heading(row.metric, row.facets), *([] if shared else [row.cell, row.changes])]
        words += ["the whole training set"] if row.method == FULL else []
        interval = "" if row.interval is None else f"± {row.interval:.2g}"
        name = escape(" · ".join(filter(None, words)))
        table.add_row(name, f"[bold]{row.ours}[/]", str(row.repeats), interval)
    for classes in by_class(table_rows):
        table.add_row(escape(classes.heading), f"[bold]{classes.ours}[/]", "", "")
    head = "\n".join(filter(None, [result.summary, " · ".join(filter(None, shared))]))
    return Group(f"\n[bold]{escape(result.run_id)}[/]\n[dim]{escape(head)}[/]\n", table, "")


def _pivot_table(layout: Pivot) -> list[Table | str]:
    from rich.markup import escape
    from rich.table import Table

    table = Table(**_look())
    table.add_column("method", overflow="fold")
    for column in layout.columns:
        table.add_column(escape(column) or "all", justify="right")
    for section in layout.sections:
        count = f"[dim]n = {section.count}[/]" if section.count else ""
        table.add_row(f"[cyan]{escape(section.heading)}[/]", count)
        for name, line in section.lines.items():
            full = any(row.method == FULL for row in line.values())
            cells = [
                _cell(line.get(c), section.best.get(c) == name, bool(section.count)) for c in layout.columns
            ]
            table.add_row(f"  {escape(name)}", *cells, style="dim" if full else None)
        table.add_section()
    return [f"\n[bold]{escape(layout.title)}[/]", "[dim]mean ± std, n = seeds × repeats of each[/]\n", table]


def _cell(row: Row | None, best: bool, counted: bool) -> str:
    if row is None:
        return "[dim]–[/]"
    count = "" if counted or row.method == FULL else f" [dim]n {row.count}[/]"
    return f"[bold]{row.ours}[/]{count}" if best else f"{row.ours}{count}"


def _look() -> dict[str, Any]:
    from rich import box

    return {"box": box.SIMPLE_HEAD, "header_style": "bold", "show_edge": False, "pad_edge": False}


def _console() -> Console:
    from distill_bench.reporting.console import standard_console

    return standard_console()
