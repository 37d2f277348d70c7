"""One HTML file that shows everything: no server, no other file, and a few lines of script to sort and
filter."""

from __future__ import annotations

import base64
import io
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distill_bench.errors import UserError
from distill_bench.files import write_text
from distill_bench.reporting.axes import describe, natural, setting_words
from distill_bench.reporting.by_class import Classes, by_class, whole
from distill_bench.reporting.cells import FULL, cell_of, flat, size_of
from distill_bench.reporting.experiment_table import published
from distill_bench.reporting.figures import curves
from distill_bench.reporting.layout import MEANINGLESS, Pivot, pivots
from distill_bench.reporting.numbers import gain, gap_text, heading, metric_of, span
from distill_bench.reporting.reference import Reference, read_reference, reference_folder
from distill_bench.reporting.results import Result, read_results, say
from distill_bench.reporting.row import Row
from distill_bench.reporting.size_figure import accuracy_against_ipc, error_against_components
from distill_bench.reporting.table import rows
from distill_bench.reporting.table_file import read_table

__all__ = ["shade", "write_report"]

_FIGURE, _PICTURE, _THUMBNAIL = 1600, 720, 260  # pixels across, at most
_GALLERY = 24  # products shown for each task

Warn = Callable[[str], None]


def write_report(
    runs_root: Path, results_root: Path, out: Path, *, products_root: Path | None = None
) -> Path:
    """Write the report of every run under `runs_root`, and of all published tables in `results_root`, to
    `out`, and return `out`.

    Products lie in `products_root`, beside `runs_root` if None; the papers' numbers in
    `results_root/reference`. Everything is inside the one file: pictures as data URIs, styles inline; all
    text from files is escaped. Files that cannot be read are named in it. Equal files give equal reports.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    skipped: list[str] = []

    def warn(line: str) -> None:
        say(line)
        skipped.append(line)

    results = read_results(runs_root, warn, products_root=products_root)
    reference = read_reference(reference_folder(results_root), warn)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        heading=heading,
        gap_text=gap_text,
        shade=shade,
        metric_of=metric_of,
        FULL=FULL,
        MEANINGLESS=MEANINGLESS,
    )
    names = sorted({result.task for result in results})
    tasks = [
        _task(name, [result for result in results if result.task == name], reference, warn) for name in names
    ]
    page = environment.get_template("report.html.j2").render(
        tasks=tasks,
        facts=_facts(results),
        published=_published(results_root, warn),
        words=_words(results),
        skipped=skipped,
        runs_root=runs_root.name,
    )
    write_text(out, page)
    return out


def shade(row: Row) -> str:
    """The colour class of a row's gap: ``better-1`` .. ``better-3``, ``worse-1`` .. ``worse-3``, or ``even``.

    Better and worse follow the metric's direction. Within one standard deviation of the gap it is even;
    beyond, steps 2 and 3 begin at 3 and 10 percentage points, for other metrics at 10 and 50 % of the paper's
    value.
    """
    ahead = None if row.gap is None else gain(row.gap, row.metric)
    if ahead is None or abs(ahead) <= row.noise or ahead == 0:
        return "even"
    if metric_of(row.metric).unit == "%":
        bounds = (3.0, 10.0)
    else:
        bounds = (0.1 * abs(row.paper or 0.0), 0.5 * abs(row.paper or 0.0))
    step = 1 + sum(abs(ahead) >= bound for bound in bounds)
    return f"{'better' if ahead > 0 else 'worse'}-{step}"


@dataclass(frozen=True)
class _Run:
    """What the section of one run shows."""

    result: Result
    cell: str  # the axes in words
    badge: str  # protocol, profile and settings in words
    headline: str  # the first measure
    size: str  # of the evaluation, in words
    rows: list[Row]
    classes: list[Classes]  # the ranges of the measures of single classes
    more: list[tuple[str, str]]  # further pictures: (what it is, data URI)
    picture: str
    thumbnail: str
    curves: str
    config: str
    environment: list[tuple[str, str]]

    @property
    def data(self) -> str:
        """The first axis: the data set, or the family of mixtures."""
        return str(next(iter(self.result.axes.values())))


@dataclass(frozen=True)
class _Task:
    """What the section of one task shows."""

    name: str
    methods: dict[str, tuple[str, str]]  # name -> (summary, paper)
    tables: list[Pivot]
    figures: list[tuple[str, str]]  # (what it shows, data URI)
    runs: list[_Run]
    gallery: list[_Run]
    pictured: int  # cells that have a picture, in the gallery or not
    papers: bool  # whether anything can be compared


def _task(name: str, results: Sequence[Result], reference: Sequence[Reference], warn: Warn) -> _Task:
    ours = [row for row in rows(results, reference) if row.mean is not None]
    figures = [
        (
            "Accuracy against images per class",
            _drawn(lambda p: accuracy_against_ipc(p, results, reference), _FIGURE),
        ),
        (
            "Error against components left",
            _drawn(lambda p: error_against_components(p, results, reference), _FIGURE),
        ),
    ]
    runs = sorted((_run(result, reference, warn) for result in results), key=_order)
    pictured = _first_seeds(runs)
    return _Task(
        name=name.replace("_", " "),
        methods={r.method: (r.summary, r.paper) for r in sorted(results, key=lambda r: r.method)},
        tables=pivots(ours),
        figures=[figure for figure in figures if figure[1]],
        runs=runs,
        gallery=[_of_cell(run, results) for run in pictured[:_GALLERY]],
        pictured=len(pictured),
        papers=any(row.gap is not None for row in ours),
    )


def _run(result: Result, reference: Sequence[Reference], warn: Warn) -> _Run:
    picture = result.artifact("picture")
    numbers = [number for number in reference if number.method in (result.method, FULL)]
    table = [row for row in rows([result], numbers) if row.mean is not None]
    shown = {key: value for key, value in result.provenance.items() if key != "command"}
    return _Run(
        result=result,
        cell=describe(result.axes),
        badge=_badge(result),
        headline=_headline(table),
        rows=whole(table),
        classes=by_class(table),
        size=size_of(result.config),
        more=_more_pictures(result, warn),
        picture=_inlined(picture, _PICTURE, warn),
        thumbnail=_inlined(picture, _THUMBNAIL, _ignore),
        curves=_drawn(lambda path: curves(path, result.points(warn)), _PICTURE * 3 // 2),
        config="\n".join(f"{key}: {value}" for key, value in flat(result.config).items()),
        environment=[(key.replace("_", " "), str(value)) for key, value in shown.items() if value != ""],
    )


def _more_pictures(result: Result, warn: Warn) -> list[tuple[str, str]]:
    """Pictures that measuring left, such as attacked images."""
    roles = [role for role, name in result.artifacts.items() if name.endswith(".png") and role != "picture"]
    found = [(role.replace("_", " "), _inlined(result.artifact(role), _PICTURE, warn)) for role in roles]
    return [(role, picture) for role, picture in found if picture]


def _published(results_root: Path, warn: Warn) -> list[tuple[str, list[Pivot]]]:
    """The measured rows of each published table, laid out, by its name; those of smoke runs left out."""
    tables = []
    for file in published(results_root):
        try:
            found = [row for row in read_table(file) if row.mean is not None and not row.meaningless]
        except UserError as error:
            warn(f"skipped {error}")
            continue
        tables.append((f"{file.parent.name}, {file.stem}", pivots(found)))
    return [(name, layouts) for name, layouts in tables if layouts]


def _words(results: Sequence[Result]) -> dict[str, list[str]]:
    """What the page can be filtered by: methods, data sets (or mixtures), protocols."""
    return {
        "method": sorted({result.method for result in results}),
        "data": sorted({str(next(iter(result.axes.values()))) for result in results}, key=natural),
        "protocol": sorted({result.protocol for result in results if result.protocol}),
    }


def _badge(result: Result) -> str:
    protocol = f"protocol {result.protocol}" if result.protocol else ""
    words = [protocol, f"profile {result.profile}", ", ".join(setting_words(result.settings))]
    return " · ".join(filter(None, words))


def _headline(table: Sequence[Row]) -> str:
    """The first measure of a product: ``accuracy 61.2 ± 1.1 % (n = 3 × 5)``."""
    first = next((row for row in table if row.method != FULL), None)
    if first is None:
        return ""
    return f"{first.metric.replace('_', ' ')} {first.ours}{_unit(first)} (n = {first.count})"


def _of_cell(run: _Run, results: Sequence[Result]) -> _Run:
    """A run with the first measure of its whole cell, all seeds joined."""
    cell = cell_of(run.result)
    return replace(run, headline=_headline(rows(other for other in results if cell_of(other) == cell)))


def _order(run: _Run) -> tuple[object, ...]:
    problem = [natural(str(value)) for value in run.result.axes.values()]
    return problem, run.result.method, natural(run.badge), run.result.seed, run.result.run_id


def _unit(row: Row) -> str:
    unit = metric_of(row.metric).unit
    return f" {unit}" if unit else ""


def _first_seeds(runs: Sequence[_Run]) -> list[_Run]:
    """Of every cell with pictures the run of its first seed."""
    cells: dict[tuple[object, ...], _Run] = {}
    for run in sorted(runs, key=lambda run: run.result.seed):
        if run.picture:
            cells.setdefault(cell_of(run.result), run)
    order = {run.result.run_id: index for index, run in enumerate(runs)}
    return sorted(cells.values(), key=lambda run: order[run.result.run_id])


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The numbers of the overview."""
    seconds = [float(result.provenance.get("seconds", 0.0)) for result in results]
    newest = max((str(result.provenance.get("started", "")) for result in results), default="")
    return [
        ("runs", str(len(results))),
        ("cells", str(len({cell_of(result) for result in results}))),
        ("methods", str(len({(result.task, result.method) for result in results}))),
        ("time of all runs", span(math.fsum(seconds))),
        ("newest run", newest[:10]),
    ]


def _drawn(draw: Callable[[Path], bool], width: int) -> str:
    """The data URI of what `draw` writes; empty if it has nothing to draw."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        return _inlined(path, width, say, drawing=True) if draw(path) else ""


def _inlined(path: Path | None, width: int, warn: Warn, *, drawing: bool = False) -> str:
    """A picture as a data URI, at most `width` pixels across and twice as high; empty if it cannot be read.

    A drawing keeps its sharp lines, anything else is compressed as a photograph.
    """
    from PIL import Image

    if path is None:
        return ""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        warn(f"skipped picture {path}: {error}")
        return ""
    picture.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=drawing, quality=60 if drawing else 85, method=2 if drawing else 4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _ignore(line: str) -> None:
    """The same picture was named before."""
