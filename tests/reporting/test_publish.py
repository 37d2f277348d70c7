"""Tables of one's own lie apart from the published ones, and get there by a command alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from distill_bench.catalogue import conf_dir
from distill_bench.errors import UserError
from distill_bench.reporting import Row, read_table, write_table
from distill_bench.reporting.axes import Axes
from distill_bench.reporting.experiment_table import publish, published
from tests.conftest import REPOSITORY

AXES: Axes = {"dataset": "cifar10", "ipc": 1, "student": "convnet", "distiller": "convnet"}


def row(method: str, mean: float, seeds: int = 1, profile: str = "fast", **more: Any) -> Row:
    counts = {"seeds": seeds, "repeats": 3 * seeds, "std": 1.0}
    return Row(
        method=method,
        axes=AXES,
        metric="accuracy",
        protocol="dc",
        profile=profile,
        mean=mean,
        **{**counts, **more},
    )


def table(root: Path, *rows: Row) -> None:
    write_table(root / "x" / "table1", rows, title="x, table1", warn=lambda _: None)


def test_publishing_merges_and_no_row_loses_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, results = tmp_path / "tables", tmp_path / "results"
    table(results, row("dm", 25.0, seeds=10), row("random", 15.0), row("herding", 20.0))
    table(
        own,
        row("dm", 30.0),
        row("random", 16.0, seeds=3),
        row("datadam", 31.0),
        row("dc", 9.0, profile="smoke"),
    )
    files = publish("x_table1", own, results)
    found = {r.method: (r.mean, r.seeds) for r in read_table(results / "x" / "table1.csv")}
    assert found == {"dm": (25.0, 10), "random": (16.0, 3), "herding": (20.0, 1), "datadam": (31.0, 1)}
    assert set(files) == {results / "x" / f"table1.{ending}" for ending in ("md", "csv", "png")}
    said = capsys.readouterr().err
    assert "kept dm · cifar10 · ipc 1 · accuracy" in said
    assert "left out: 1 rows of profile smoke" in said


def test_there_must_be_a_table_to_publish(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"control/table1\.csv: there is no such table; make table-control-1"):
        publish("control_table1", tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_the_command_publishes_one_table_or_writes_all_pages_anew(tmp_path: Path) -> None:
    own, results = tmp_path / "tables", tmp_path / "results"
    table(own, row("dm", 30.0))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "scripts/publish.py", *words, "--tables", str(own), "--results", str(results)]
        return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert run("y_table1").returncode == 2
    assert run("x_table1").returncode == 0
    page = results / "x" / "table1.md"
    before = {file: file.read_bytes() for file in page.parent.glob("table1.*")}
    page.unlink()
    assert run().returncode == 0
    assert {file: file.read_bytes() for file in page.parent.glob("table1.*")} == before


def test_every_published_table_has_its_page_as_this_version_writes_it(tmp_path: Path) -> None:
    for file in published(REPOSITORY / "results"):
        stem = tmp_path / file.parent.name / file.stem
        title = f"{file.parent.name}, {file.stem}".replace("_", " ")
        write_table(stem, read_table(file), title=title)
        page = file.with_suffix(".md").read_text()
        assert stem.with_suffix(".md").read_text() == page, "run `python scripts/publish.py`"


def test_nothing_that_a_user_makes_is_seen_by_git() -> None:
    config: Any = OmegaConf.load(conf_dir() / "config.yaml")
    names = ("data", "products", "runs", "cache", "tables")
    roots = [Path(str(config[f"{name}_root"])).name for name in names]
    places = [*(f"{root}/x/table1.csv" for root in roots), "report.html", "wandb/x"]
    done = subprocess.run(
        ["git", "check-ignore", *places], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    assert done.stdout.split() == places
