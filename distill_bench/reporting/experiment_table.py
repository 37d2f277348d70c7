"""The table of an experiment: which runs fill it, where it lies, and its figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from distill_bench.errors import require
from distill_bench.reporting.cells import cell_of
from distill_bench.reporting.reference import reference_file, reference_folder
from distill_bench.reporting.results import Result, read_result, read_results, say
from distill_bench.reporting.size_figure import accuracy_of_table
from distill_bench.reporting.table import rows, write_table

__all__ = ["fill_table", "results_of_sweep"]

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


def fill_table(results: Sequence[Result], results_root: Path, experiment: str, command: str) -> list[Path]:
    """Merge the rows of `results` into the table of `experiment`; the files that hold it.

    ``datadam_table1`` is kept as `datadam/table1.md` and `.csv` under `results_root`, beside the paper's
    numbers, with a figure of accuracy against images per class where there is one to draw. UserError for a
    name that is no name of a file, for a csv file there that is not such a table, and for damaged numbers of
    the paper.
    """
    allowed = "letters, digits, - and _, with a letter or digit at both ends"
    require(_NAME.fullmatch(experiment) is not None, "experiment_name", experiment, allowed)
    numbers = reference_folder(results_root) / f"{experiment}.csv"
    table = rows(results, reference_file(numbers) if numbers.exists() else [])
    paper, _, name = experiment.rpartition("_")
    stem = results_root / (paper or experiment) / name
    merged = write_table(stem, table, title=f"{paper}, {name}" if paper else name, command=command)
    files = [stem.with_suffix(".md"), stem.with_suffix(".csv")]
    figure = stem.with_suffix(".png")
    return [*files, figure] if accuracy_of_table(figure, merged) else files
