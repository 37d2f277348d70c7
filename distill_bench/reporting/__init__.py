"""Tables, figures and reports, made from result files alone. Nothing heavy is imported before it is used."""

from distill_bench.reporting.cells import Series, series_of
from distill_bench.reporting.difficulty_figure import draw_difficulty
from distill_bench.reporting.figures import curves
from distill_bench.reporting.grids import image_grid
from distill_bench.reporting.reference import Reference, read_reference, reference_file, reference_folder
from distill_bench.reporting.report import write_report
from distill_bench.reporting.results import Result, parse_result, read_result, read_results
from distill_bench.reporting.size_figure import accuracy_against_ipc, error_against_components
from distill_bench.reporting.table import Row, merge, read_table, rows, write_table
from distill_bench.reporting.terminal import pivot, run_table, show_result, show_sweep

__all__ = [
    "Reference",
    "Result",
    "Row",
    "Series",
    "accuracy_against_ipc",
    "curves",
    "draw_difficulty",
    "error_against_components",
    "image_grid",
    "merge",
    "parse_result",
    "pivot",
    "read_reference",
    "read_result",
    "read_results",
    "read_table",
    "reference_file",
    "reference_folder",
    "rows",
    "run_table",
    "series_of",
    "show_result",
    "show_sweep",
    "write_report",
    "write_table",
]
