"""The table of a sweep: which runs fill it, where it lies, its figure, and how it is published."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from distill_bench.errors import UserError, require
from distill_bench.reporting.cells import cell_of
from distill_bench.reporting.reference import reference_file, reference_folder
from distill_bench.reporting.results import Result, read_result, read_results, say
from distill_bench.reporting.row import Row
from distill_bench.reporting.size_figure import accuracy_of_table
from distill_bench.reporting.table import read_table, rows, write_table

__all__ = ["SWEEPS", "fill_table", "publish", "published", "results_of_sweep"]

SWEEPS = "sweeps"  # the folder of the cells of sweeps that are no experiment, a table for each task
_NAME = re.compile(r"[A-Za-z0-9]([\w-]*[A-Za-z0-9])?")


def results_of_sweep(run_ids: Sequence[str], runs_root: Path, products_root: Path | None) -> list[Result]:
    """The finished runs of a sweep, then all others on disk that belong to its cells, such as other seeds.

    A run of the sweep whose result cannot be read is named in one line.
    """
    own = []
    for run_id in run_ids:
        try:
            own.append(read_result(runs_root / run_id, products_root=products_root))
        except (OSError, ValueError) as error:
            say(f"skipped {runs_root / run_id}: {error}")
    cells, names = {cell_of(result) for result in own}, set(run_ids)
    others = read_results(runs_root, lambda _: None, products_root=products_root)
    return own + [run for run in others if run.run_id not in names and cell_of(run) in cells]


def fill_table(results: Sequence[Result], tables_root: Path, experiment: str, command: str) -> list[Path]:
    """Merge the rows of `results` into the table of `experiment`; the files that hold it.

    ``datadam_table1`` is kept as `datadam/table1.md` and `.csv` under `tables_root`, beside the paper's
    numbers, with a figure of accuracy (png and pdf) where there is one to draw. Without a name
    the rows go into `sweeps/<task>`, which all such sweeps share. UserError for a name that is no name of a
    file, for a csv file there that is not such a table, and for damaged numbers of the paper.
    """
    if not experiment:
        tasks = dict.fromkeys(result.task for result in results)
        return [
            file
            for task in tasks
            for file in _written(
                tables_root / SWEEPS / task,
                _of_command(rows(result for result in results if result.task == task), command),
            )
        ]
    stem = _stem(tables_root, experiment)
    numbers = reference_folder(tables_root) / f"{experiment}.csv"
    table = rows(results, reference_file(numbers) if numbers.exists() else [])
    return _written(stem, _of_command(table, command))


def publish(experiment: str, tables_root: Path, results_root: Path) -> list[Path]:
    """Merge a table of one's own into the published one of the same name; the files that hold it.

    What was only measured to see that it runs (profile smoke) stays where it is, and no published row gives
    way to one of fewer seeds. UserError if there is no such table.
    """
    stem, source = _stem(results_root, experiment), _stem(tables_root, experiment).with_suffix(".csv")
    if not source.exists():
        made = "make table-" + experiment.replace("_table", "-")
        raise UserError(f"{source}: there is no such table; {made} writes it")
    table = read_table(source)
    kept = [row for row in table if not row.meaningless]
    if len(kept) < len(table):
        say(f"left out: {len(table) - len(kept)} rows of profile smoke, which mean nothing")
    return _written(stem, kept, [".png"])


def published(results_root: Path) -> list[Path]:
    """The csv files of all published tables; the papers' own numbers are none."""
    return [file for file in sorted(results_root.glob("*/*.csv")) if file.parent.name != "reference"]


def _stem(root: Path, experiment: str) -> Path:
    """Where the table of an experiment lies under `root`, without the ending."""
    allowed = "letters, digits, - and _, with a letter or digit at both ends"
    require(_NAME.fullmatch(experiment) is not None, "experiment_name", experiment, allowed)
    paper, _, name = experiment.rpartition("_")
    return root / (paper or experiment) / name


def _of_command(table: Iterable[Row], command: str) -> list[Row]:
    return [replace(row, command=command) if row.mean is not None else row for row in table]


def _written(stem: Path, table: Sequence[Row], figures: Sequence[str] = (".png", ".pdf")) -> list[Path]:
    """Merge `table` into the files of `stem`, and draw its figure in these forms; the files."""
    merged = write_table(stem, table, title=f"{stem.parent.name}, {stem.name}".replace("_", " "))
    files = [stem.with_suffix(".md"), stem.with_suffix(".csv")]
    drawn = [stem.with_suffix(form) for form in figures]
    return [*files, *(figure for figure in drawn if accuracy_of_table(figure, merged))]
