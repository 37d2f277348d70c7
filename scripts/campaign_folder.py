"""The small folder that a campaign leaves: outcomes, results, thin curves, small pictures; and its merge."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distill_bench.errors import UserError, require
from distill_bench.files import write_json, write_text
from distill_bench.planning import Plan

__all__ = ["Outcome", "keep", "merge", "read_outcomes", "summary", "write_outcomes"]

OUTCOMES = "campaign.json"
POINTS = 300  # of a curve, at most
PICTURE = 1 << 20  # bytes of a picture, at most


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an entry: done, stopped, failed, not begun, or needs a GPU."""

    name: str
    table: str = ""
    state: str = ""
    seconds: float = 0.0  # of all its processes
    run_id: str = ""
    error: str = ""


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """By name, in the order of the campaign; none if there are none. UserError for another file."""
    file = folder / OUTCOMES
    try:
        return {item["name"]: Outcome(**item) for item in json.loads(file.read_text())}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{file}: not the file of a campaign") from None


def write_outcomes(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Keep them, whole at any moment."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / OUTCOMES, [asdict(outcome) for outcome in outcomes.values()])


def keep(plan: Plan, folder: Path) -> None:
    """Copy the finished run into the folder: its result, thin curves, small pictures."""
    runs, products = Path(plan.options.runs_root), Path(plan.options.products_root)
    for source, target in (
        (products / plan.product.product_id, folder / "products" / plan.product.product_id),
        (runs / plan.run_id, folder / "runs" / plan.run_id),
    ):
        target.mkdir(parents=True, exist_ok=True)
        for picture in source.glob("*.png"):
            if picture.stat().st_size <= PICTURE:
                shutil.copyfile(picture, target / picture.name)
        if curves := _thin(source / "metrics.jsonl"):
            write_text(target / "metrics.jsonl", curves)
        if (source / "result.json").exists():
            shutil.copyfile(source / "result.json", target / "result.json")


def _thin(file: Path) -> str:
    """The lines of at most `POINTS` points of each phase, the last one among them."""
    from distill_bench.tracking import read_points

    phases: dict[str, list[Any]] = {}
    for point in read_points(file):
        phases.setdefault(point["phase"], []).append(point)
    kept = [points[:: -(-len(points) // POINTS)] + points[-1:] for points in phases.values()]
    unique = [dict.fromkeys(json.dumps(point) for point in points) for points in kept]
    return "".join(f"{line}\n" for lines in unique for line in lines)


def merge(folder: Path) -> int:
    """Put the runs, the tables and the benchmarks of a campaign in their place here, and say what it was; 0.

    A run that is there already stays. Of a product there are curves and pictures alone: where it is needed,
    the same command makes it anew.
    """
    from distill_bench.reporting import read_results

    require(folder.is_dir(), "--merge", folder, "the folder of a campaign")
    outcomes = read_outcomes(folder)
    places = {name: _place(name) for name in ("runs", "products", "tables")}
    results = read_results(folder / "runs", products_root=folder / "products")
    for result in results:
        _put(result.product_folder, places["products"] / result.product.id)
        fresh = _put(result.folder, places["runs"] / result.run_id)
        print(f"{'merged' if fresh else 'there already'}: {places['runs'] / result.run_id}")
    for benchmark in sorted((folder / "benchmarks").glob("*.json")):
        (places["tables"] / "benchmarks").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(benchmark, places["tables"] / "benchmarks" / benchmark.name)
    _fill_tables(outcomes.values(), places)
    print(summary(folder, outcomes.values()))
    print("next: make report")
    return 0


def _place(name: str) -> Path:
    return Path(os.environ.get(f"DISTILL_BENCH_{name.upper()}", name))


def _put(source: Path, target: Path) -> bool:
    """Copy a folder to a place where there is none yet, whole or not at all; whether there was none."""
    if target.exists() or not source.is_dir():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.copy")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished)
    unfinished.rename(target)
    return True


def _fill_tables(outcomes: Iterable[Outcome], places: Mapping[str, Path]) -> None:
    from distill_bench.reporting.experiment_table import fill_table, results_of_sweep

    tables: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.table and outcome.state == "done":
            tables.setdefault(outcome.table, []).append(outcome.run_id)
    for table, run_ids in tables.items():
        results = results_of_sweep(run_ids, places["runs"], places["products"])
        for file in fill_table(results, places["tables"], table, "python scripts/campaign.py"):
            print(f"table: {file}")


def summary(folder: Path, outcomes: Iterable[Outcome]) -> str:
    """A line an entry: its state, its seconds, its accuracy beside the paper's; also kept in the folder."""
    from distill_bench.reporting import read_reference, read_results, reference_folder

    numbers = read_reference(reference_folder(Path("results")))
    results = {run.run_id: run for run in read_results(folder / "runs", products_root=folder / "products")}
    lines = ["| entry | state | seconds | accuracy | the paper's |", "| --- | --- | --- | --- | --- |"]
    for outcome in outcomes:
        run = results.get(outcome.run_id)
        ours, paper = _accuracy(run, numbers) if run else ("", "")
        state = f"{outcome.state}: {outcome.error}" if outcome.error else outcome.state
        lines.append(f"| {outcome.name} | {state} | {outcome.seconds:.0f} | {ours} | {paper} |")
    text = "\n".join(lines)
    write_text(folder / "campaign.md", f"{text}\n")
    return text


def _accuracy(run: Any, numbers: Any) -> tuple[str, str]:
    from distill_bench.reporting import rows

    ours = [row for row in rows([run], numbers) if row.mean is not None and row.metric == "accuracy"]
    row = next((row for row in ours if row.method == run.method), None)
    return (row.ours, row.theirs) if row else ("", "")
