"""Results on the terminal: one run, or the table of a sweep, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distill_bench.catalogue import reference_dir
from distill_bench.reporting.axes import describe
from distill_bench.reporting.by_class import by_class, whole
from distill_bench.reporting.cells import FULL, cell_of, size_of
from distill_bench.reporting.experiment_table import fill_table, results_of_sweep
from distill_bench.reporting.layout import MEANINGLESS, Pivot, pivots
from distill_bench.reporting.numbers import chance, gain, gap_text, heading, span
from distill_bench.reporting.reference import read_reference
from distill_bench.reporting.results import Result, near, parse_result, read_result
from distill_bench.reporting.row import Row
from distill_bench.reporting.table import rows

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

__all__ = ["pivot", "run_table", "show_result", "show_sweep"]

_OF_RANDOM = ("method", "dataset", "ipc", "profile", "protocol", "student", "device", "threads")


def show_result(
    result: Mapping[str, Any],
    runs_root: Path,
    console: Console | None = None,
    *,
    products_root: Path | None = None,
    onwards: bool = True,
) -> None:
    """Print the measures of one run, where its files lie, and (`onwards`) a next step.

    `result` is what its `result.json` holds. Beside the measures stand the paper's numbers, if there are any
    of this cell, and below them what chance and random images give.
    """
    from rich.markup import escape

    run = parse_result(result, runs_root / str(result.get("run_id")), products_root=products_root)
    console = console or _console()
    console.print(run_table(run))
    for line in [*_yardsticks(run, runs_root), *([MEANINGLESS] if run.profile == "smoke" else [])]:
        console.print(escape(line))
    took = span(float(run.provenance.get("seconds", 0.0)))
    console.print(f"{took} on {escape(str(run.provenance.get('device', 'unknown device')))}", style="dim")
    files: dict[str, Path | None] = {"result": run.folder / "result.json"}
    files |= {role: run.artifact(role) for role in {**run.product.artifacts, **run.artifacts}}
    for role, file in files.items():
        if file:
            console.print(escape(f"{role}: {near(file)}"), style="dim", soft_wrap=True)
    if onwards:
        _show_lines(console, "next", _next_step(run))


def show_sweep(
    run_ids: Sequence[str],
    runs_root: Path,
    tables_root: Path,
    experiment: str,
    console: Console | None = None,
    *,
    command: str = "",
    products_root: Path | None = None,
) -> None:
    """Print the table of a sweep's cells, merge it into the table of its experiment (or of all sweeps), and
    say what to look at and what to type next.

    A cell is shown with all its seeds that lie under `runs_root`, of this sweep or an earlier one. `command`
    is the sweep's command line, which the table names. UserError or OSError if the table cannot be written.
    """
    results = results_of_sweep(run_ids, runs_root, products_root)
    console = console or _console()
    if results:
        console.print(pivot(results))
    files = fill_table(results, tables_root, experiment, command)
    pictures = {".md": "every number, with its interval and settings", ".png": "accuracy by images per class"}
    things = {file: pictures[file.suffix] for file in files if file.suffix in pictures}
    if (best := _best_pictured(results)) is not None:
        things[_picture(best)] = f"what {best.method} made: {describe(best.axes)}, seed {best.seed}"
        attacked = next((role for role in best.artifacts if role.endswith("_picture")), "")
        if (file := best.artifact(attacked)) is not None:
            things[file] = "what the attack does to those who learned from it"
    _show_lines(console, "look at", {str(near(file)): what for file, what in things.items()})
    if results:
        _show_lines(console, "next", {"make report": "all runs and tables in one page: report.html"})


def _best_pictured(results: Sequence[Result]) -> Result | None:
    """The run with a picture whose most telling measure is best; None if none has one."""
    pictured = [result for result in results if result.artifact("picture")]
    return max(pictured, key=_score, default=None)


def _score(result: Result) -> float:
    return gain(fmean(result.first.values), result.first.name) or 0.0


def _picture(result: Result) -> Path:
    picture = result.artifact("picture")
    assert picture is not None
    return picture


def pivot(results: Iterable[Result]) -> Group:
    """Methods down, problems across, mean ± std; a table for each data set, protocol and profile.

    What leads a column outside the noise is bold; the whole training set has its own row.
    """
    from rich.console import Group

    return Group(*(part for layout in pivots(rows(results)) for part in _pivot_table(layout)))


def run_table(result: Result) -> Group:
    """The measures of one run: mean ± std over its repeats, how many, and the 95 % interval (below three
    repeats these themselves); beside the paper's number, if it has one for this cell.

    Of single classes the lowest and the highest. What all rows are about stands above them.
    """
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table_rows = _beside_the_paper(result)
    papers = any(row.paper is not None for row in table_rows)
    table = Table(**_look())
    table.add_column("measure")
    for name in ("mean ± std", "repeats", "95 %", *(("paper", "gap") if papers else ())):
        table.add_column(name, justify="right", no_wrap=True)
    about = {(row.cell, row.changes) for row in table_rows}
    shared = about.pop() if len(about) == 1 else ()
    for row in whole(table_rows):
        words = [heading(row.metric, row.facets), *([] if shared else [row.cell, row.changes])]
        words += ["the whole training set"] if row.method == FULL else []
        name = escape(" · ".join(filter(None, words)))
        gap = "" if row.gap is None else gap_text(row.gap, row.metric)
        beside = (row.theirs, gap) if papers else ()
        table.add_row(name, f"[bold]{row.ours}[/]", str(row.repeats), row.certainty, *beside)
    for classes in by_class(table_rows):
        table.add_row(escape(classes.heading), f"[bold]{classes.ours}[/]", "", "")
    place = [*shared, f"protocol {result.protocol}" if result.protocol else "", f"profile {result.profile}"]
    head = "\n".join(filter(None, [result.summary, " · ".join(filter(None, place)), size_of(result.config)]))
    return Group(f"\n[bold]{escape(result.run_id)}[/]\n[dim]{escape(head)}[/]\n", table, "")


def _beside_the_paper(result: Result) -> list[Row]:
    """The rows of a run, with the numbers of all papers."""
    numbers = read_reference(reference_dir(), lambda _: None) if result.profile != "smoke" else []
    return [row for row in rows([result], numbers) if row.mean is not None]


def _yardsticks(run: Result, runs_root: Path) -> list[str]:
    """What an accuracy is to be compared with: chance, and random images if that cell has been run."""
    if "accuracy" not in run.first.name:
        return []
    lines = [f"chance: {level:.1f} %"] if (level := chance(run.config)) else []
    baseline = [] if run.method == "random" else _of_random(run, runs_root)
    for row in rows(baseline)[:1]:
        lines.append(f"random images: {row.ours} % (n = {row.count})")
    return lines


def _of_random(run: Result, runs_root: Path) -> list[Result]:
    """The finished runs of `random` in the cell of `run`."""
    found = []
    for file in sorted(runs_root.glob("random_*/result.json")):
        try:
            other = read_result(file.parent)
        except (OSError, ValueError):
            continue
        if cell_of(other)[2:] == cell_of(run)[2:]:
            found.append(other)
    return found


def _next_step(run: Result) -> dict[str, str]:
    """A command worth typing now, and what it gives."""
    words = shlex.split(str(run.provenance.get("command", "")))[2:]
    single = words and not any(word.startswith(("-", "experiment=")) for word in words)
    if run.task == "mixture_reduction" or not single:
        return {"make report": "all runs and tables in one page: report.html"}
    words = [word for word in words if not word.startswith("seed=")]
    beside = run.task == "dataset_distillation" and f"method={run.method}" in words
    if beside and run.method != "random" and all(_takes(word) for word in words):
        words[words.index(f"method={run.method}")] = f"method=random,{run.method}"
        what = "three seeds, beside random images"
    else:
        what = "three seeds: how much of it is luck"
    return {" ".join(["python run.py -m", *map(shlex.quote, words), "seed=0,1,2"]): what}


def _takes(word: str) -> bool:
    """Whether `random` takes this word too."""
    key = word.partition("=")[0]
    return key in _OF_RANDOM or key.split(".")[0] in ("protocol", "student", "dataset", "ipc")


def _show_lines(console: Console, title: str, lines: Mapping[str, str]) -> None:
    """A heading, and under it things with what they are."""
    from rich.markup import escape

    if lines:
        wide = max(map(len, lines))
        text = [f"  {escape(thing.ljust(wide))}   [dim]{escape(what)}[/]" for thing, what in lines.items()]
        console.print("\n".join([f"\n[bold]{title}[/]", *text]), soft_wrap=True)


def _pivot_table(layout: Pivot) -> list[Table | str]:
    from rich.markup import escape
    from rich.table import Table

    table = Table(**_look())
    table.add_column("method", overflow="fold")
    for column in layout.columns:
        table.add_column(escape(column) or "all", justify="right")
    for section in layout.sections:
        count = f"[dim]n = {section.count}[/]" if section.count else ""
        table.add_row(f"[cyan]{escape(section.heading)}[/] {count}".rstrip())
        for name, line in section.lines.items():
            full = any(row.method == FULL for row in line.values())
            cells = [
                _cell(line.get(c), name in section.best.get(c, ()), bool(section.count))
                for c in layout.columns
            ]
            table.add_row(f"  {escape(name)}", *cells, style="dim" if full else None)
        table.add_section()
    notes = "\n".join(["mean ± std, n = seeds × repeats of each", *layout.remarks])
    return [f"\n[bold]{escape(layout.title)}[/]", f"[dim]{escape(notes)}[/]\n", table]


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
