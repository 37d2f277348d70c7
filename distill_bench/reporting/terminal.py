"""Results on the terminal: one run, or the table of a sweep."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_bench.reporting.cells import FULL
from distill_bench.reporting.figures import accuracy_of_table
from distill_bench.reporting.layout import Pivot, pivots
from distill_bench.reporting.numbers import heading, span
from distill_bench.reporting.reference import reference_file, reference_folder
from distill_bench.reporting.results import Result, parse_result, read_result, say
from distill_bench.reporting.row import Row
from distill_bench.reporting.table import read_table, rows, write_table

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

__all__ = ["pivot", "run_table", "show_result", "show_sweep"]


def show_result(result: Mapping[str, Any], runs_root: Path, console: Console | None = None) -> None:
    """Print the measures of one run, and where its files lie. `result` is the content of its
    `result.json`."""
    from rich.markup import escape

    run = parse_result(result, runs_root / str(result["run_id"]))
    console = console or _console()
    console.print(run_table(run))
    took = span(float(run.provenance.get("seconds", 0.0)))
    console.print(f"{took} on {escape(str(run.provenance.get('device', 'unknown device')))}", style="dim")
    for role, name in run.artifacts.items():
        console.print(escape(f"{role}: {run.folder / str(name)}"), style="dim", soft_wrap=True)


def show_sweep(
    run_ids: Sequence[str],
    runs_root: Path,
    results_root: Path,
    experiment: str,
    console: Console | None = None,
) -> None:
    """Print the table of the finished runs of a sweep; for an experiment, merge it into the experiment's
    table.

    ``datadam_table1`` is kept as `datadam/table1.md` and `.csv` under `results_root`, beside the paper's
    numbers, with a figure of accuracy against images per class where there is one to draw.
    """
    from rich.markup import escape

    results = _results(run_ids, runs_root)
    console = console or _console()
    if results:
        console.print(pivot(results))
        _show_pictures(results, console)
    if not experiment:
        return
    known = reference_folder(results_root) / f"{experiment}.csv"
    table = rows(results, reference_file(known) if known.exists() else [])
    paper, _, name = experiment.rpartition("_")
    stem = results_root / (paper or experiment) / name
    title = ", ".join([*experiment.split("_"), *sizes(results)])
    write_table(stem, table, title=title, command=f"python run.py experiment={experiment}")
    console.print(escape(f"table: {stem}.md, {stem}.csv"), style="dim", soft_wrap=True)
    if accuracy_of_table(stem.with_suffix(".png"), read_table(stem.with_suffix(".csv"))):
        console.print(escape(f"figure: {stem}.png"), style="dim", soft_wrap=True)


def sizes(results: Sequence[Result]) -> list[str]:
    """What all these runs share of the evaluation's size, e.g. ``convnet of width 32``, ``E = 150``, ``3
    networks``."""
    found = []
    for words, group, keys in (
        ("{} of width {}", "student", ("name", "width")),
        ("E = {}", "protocol", ("epochs",)),
        ("{} networks a set", "protocol", ("nets",)),
    ):
        parts = [result.config.get(group) for result in results]
        values = {tuple(part.get(key) if isinstance(part, dict) else None for key in keys) for part in parts}
        if len(values) == 1 and None not in (shared := values.pop()):
            found.append(words.format(*shared))
    return found


def _show_pictures(results: Sequence[Result], console: Console) -> None:
    """Where the picture of each method's last run lies."""
    from rich.markup import escape

    last = {result.method: result.artifact("picture") for result in results}
    for method, picture in last.items():
        if picture is not None:
            console.print(escape(f"picture of {method}: {picture}"), style="dim", soft_wrap=True)


def pivot(results: Iterable[Result]) -> Group:
    """Methods down, settings across, mean ± std; a table for each data set, protocol and profile. The best of
    each column is bold; the whole training set has its own row."""
    from rich.console import Group

    return Group(*(part for layout in pivots(rows(results)) for part in _pivot_table(layout)))


def run_table(result: Result) -> Group:
    """The measures of one run: mean ± std over its repeats, how many, and the 95 % interval."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(**_look())
    table.add_column("measure")
    for name in ("mean ± std", "repeats", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows([result]):
        settings = "" if row.method != FULL else " (the whole training set)"
        interval = "" if row.interval is None else f"± {row.interval:.2g}"
        name = escape(f"{heading(row.metric)} · {row.setting}{settings}")
        table.add_row(name, f"[bold]{row.ours}[/]", str(row.repeats), interval)
    return Group(f"\n[bold]{escape(result.run_id)}[/]\n[dim]{escape(result.summary)}[/]\n", table, "")


def _pivot_table(layout: Pivot) -> list[Table | str]:
    from rich.markup import escape
    from rich.table import Table

    table = Table(**_look())
    table.add_column("method", no_wrap=True)
    for column in layout.columns:
        table.add_column(escape(column) or "all", justify="right")
    for section in layout.sections:
        count = f"[dim]n = {section.count}[/]" if section.count else ""
        table.add_row(f"[cyan]{escape(heading(section.metric))}[/]", count)
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


def _results(run_ids: Sequence[str], runs_root: Path) -> list[Result]:
    results = []
    for run_id in run_ids:
        try:
            results.append(read_result(runs_root / run_id))
        except (OSError, ValueError) as error:
            say(f"skipped {runs_root / run_id}: {error}")
    return results


def _look() -> dict[str, Any]:
    from rich import box

    return {"box": box.SIMPLE_HEAD, "header_style": "bold", "show_edge": False, "pad_edge": False}


def _console() -> Console:
    """Standard output: as wide as the terminal, in a file wide enough for a paper's table."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=160)
