"""Finding and reading result files. Tables, figures and reports know of a run only what is read here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_bench.metrics import Measure
from distill_bench.tracking import Tracker

__all__ = ["Result", "parse_result", "read_result", "read_results", "say"]

SCHEMA = 1
_FIELDS = {
    "run_id": str,
    "cell_id": str,
    "task": str,
    "method": str,
    "paper": str,
    "summary": str,
    "labels": dict,
    "seed": int,
    "config": dict,
    "measures": list,
    "artifacts": dict,
    "provenance": dict,
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run as its `result.json` tells it; `folder` is where the file lies."""

    run_id: str
    cell_id: str  # names the run up to its seed
    task: str
    method: str
    paper: str
    summary: str
    labels: dict[str, Any]
    seed: int
    config: dict[str, Any]
    measures: list[Measure]
    artifacts: dict[str, str]
    provenance: dict[str, Any]
    folder: Path

    def artifact(self, role: str) -> Path | None:
        """The file of a role, or None if there is none inside the run's folder."""
        name = self.artifacts.get(role)
        path = (self.folder / str(name)).resolve()
        inside = path.is_relative_to(self.folder.resolve())
        return path if name and inside and path.is_file() else None

    def points(self) -> list[dict[str, Any]]:
        """The points of the run's curves; lines that are not points are left out."""
        return [point for point in Tracker(self.folder).points() if _is_point(point)]


def say(line: str) -> None:
    """Print a warning."""
    print(line, file=sys.stderr, flush=True)


def read_results(runs_root: Path, warn: Callable[[str], None] = say) -> list[Result]:
    """Every finished run under `runs_root`, in the order of the run ids.

    A file that is damaged or not one of ours is named in one line given to `warn`, and left out.
    """
    results = []
    for file in sorted(runs_root.glob("*/result.json")):
        try:
            results.append(read_result(file.parent))
        except (OSError, ValueError) as error:
            warn(f"skipped {file}: {error}")
    return results


def read_result(folder: Path) -> Result:
    """The result of the run in `folder`. Raises ValueError saying what is wrong, FileNotFoundError if there
    is none."""
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not a text file ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not whole JSON ({error})") from None
    result = parse_result(content, folder)
    if result.run_id != folder.name:
        raise ValueError(f"run_id {result.run_id!r} is not the name of its folder")
    return result


def parse_result(content: Any, folder: Path) -> Result:
    """A result from the content of its file. Raises ValueError if it has not the standard form."""
    if not isinstance(content, Mapping):
        raise ValueError("not a result: no JSON object")
    if content.get("schema") != SCHEMA or content.get("status") != "done":
        raise ValueError(f"not a finished result of schema {SCHEMA}")
    for key, kind in _FIELDS.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f"not a result: {key} is missing or not a {kind.__name__}")
    try:
        measures = [Measure(**measure) for measure in content["measures"]]
    except TypeError as error:
        raise ValueError(f"not a result: wrong measure ({error})") from None
    return Result(
        **{key: content[key] for key in _FIELDS if key != "measures"}, measures=measures, folder=folder
    )


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, dict) and isinstance(point.get("phase"), str) and isinstance(point.get("step"), int)
    )
