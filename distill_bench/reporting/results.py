"""Finding and reading result files. Tables, figures and reports know of a run only what is read here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_bench.metrics import Measure, place_of
from distill_bench.reporting.axes import Axes, Settings
from distill_bench.reporting.schema import SCHEMA, check, parse_json, read_measures
from distill_bench.tracking import read_points

__all__ = ["SCHEMA", "Product", "Result", "near", "parse_result", "read_result", "read_results", "say"]


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a method made, as a result names it; `artifacts` are files in the product's folder, by role."""

    id: str
    digest: str
    artifacts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run as its `result.json` tells it."""

    run_id: str
    cell_id: str  # names the run up to its seed
    task: str
    method: str
    paper: str
    summary: str
    axes: Axes  # the problem that the method was given
    protocol: str  # how the product was measured; empty for a task without protocols
    profile: str
    settings: (
        Settings  # what differs from the defaults of the method, the data set, the protocol and the profile
    )
    seed: int
    config: dict[str, Any]
    product: Product
    measures: list[Measure]
    artifacts: dict[str, str]
    provenance: dict[str, Any]
    folder: Path  # of the run
    product_folder: Path

    @property
    def first(self) -> Measure:
        """The most telling measure: accuracy, where there is one."""
        return min(self.measures, key=lambda measure: place_of(measure.name))

    @property
    def data(self) -> str:
        """The fingerprint of the data; empty where data have none."""
        return str(self.provenance.get("data_fingerprint") or "")

    def artifact(self, role: str) -> Path | None:
        """The file of a role in the run's folder, else in the product's; None if neither has it."""
        own = _inside(self.folder, self.artifacts.get(role))
        return own or _inside(self.product_folder, self.product.artifacts.get(role))

    def points(self, warn: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
        """The points of the product's curves, then those of the run's own; what is no point is left out."""
        folders = (self.product_folder, self.folder)
        return [point for folder in folders for point in read_points(folder / "metrics.jsonl", warn or say)]


def say(line: str) -> None:
    """Print a warning."""
    print(line, file=sys.stderr, flush=True)


def read_results(
    runs_root: Path, warn: Callable[[str], None] | None = None, *, products_root: Path | None = None
) -> list[Result]:
    """Every finished run under `runs_root`, in the order of the run ids.

    A file that is damaged or not one of ours is named in one line given to `warn` (None: printed), and left
    out. Products lie in `products_root`, beside `runs_root` if None.
    """
    results = []
    for file in sorted(runs_root.glob("*/result.json")):
        try:
            results.append(read_result(file.parent, products_root=products_root))
        except (OSError, ValueError) as error:
            (warn or say)(f"skipped {file}: {error}")
    return results


def read_result(folder: Path, *, products_root: Path | None = None) -> Result:
    """The result of the run in `folder`. ValueError says what is wrong with it, OSError if there is none."""
    content = parse_json((folder / "result.json").read_bytes())
    result = parse_result(content, folder, products_root=products_root)
    if result.run_id != folder.name:
        raise ValueError(f"run_id {result.run_id!r} is not the name of its folder")
    return result


def parse_result(content: Any, folder: Path, *, products_root: Path | None = None) -> Result:
    """A result from the content of its file. ValueError if it has not the standard form."""
    check(content)
    products = products_root or folder.parent.parent / "products"
    product = Product(**{key: content["product"][key] for key in ("id", "digest", "artifacts")})
    copied = ("run_id", "cell_id", "task", "method", "paper", "summary", "axes", "protocol", "profile")
    fields = {key: content[key] for key in (*copied, "settings", "seed", "config", "artifacts", "provenance")}
    return Result(
        **fields,
        product=product,
        measures=read_measures(content["measures"]),
        folder=folder,
        product_folder=products / product.id,
    )


def near(path: Path) -> Path:
    """`path` as seen from the working folder, if it lies in it."""
    whole, here = path.resolve(), Path.cwd().resolve()
    return whole.relative_to(here) if whole.is_relative_to(here) else path


def _inside(folder: Path, name: str | None) -> Path | None:
    """The file `name` of `folder`; None if there is none, or if it lies elsewhere."""
    if not name or "\0" in name:
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
