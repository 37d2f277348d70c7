"""Sweeps: every cell once, a table at the end, failures named; the same through every launcher."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_bench.sweeps import command_of

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SWEEP = ["-m", "method=random,dm", "dataset=digits", "ipc=1,2", "profile=smoke"]


def results(roots: Path) -> set[tuple[str, int]]:
    contents = [json.loads(file.read_text()) for file in roots.glob("runs/*/result.json")]
    return {(result["method"], result["axes"]["ipc"]) for result in contents}


ALL = {("random", 1), ("random", 2), ("dm", 1), ("dm", 2)}


def test_a_sweep_runs_every_cell_and_ends_with_a_table(command: Command, tmp_path: Path) -> None:
    done = command(*SWEEP)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == ALL
    lines, _, table = done.stdout.partition("digits · protocol dc · profile smoke")
    assert [line.split(": accuracy ")[0] for line in lines.splitlines() if line] == [
        f"[{place}/4] {method} ipc={ipc}"
        for place, (method, ipc) in enumerate([("random", 1), ("random", 2), ("dm", 1), ("dm", 2)], start=1)
    ]
    assert lines.count("about ") == 3  # the time left, but for the last
    assert "dm" in table
    assert (tmp_path / "tables" / "sweeps" / "dataset_distillation.md").is_file()


def test_a_sweep_that_is_run_again_does_nothing_again(command: Command, tmp_path: Path) -> None:
    sweep = [*SWEEP, "ipc=1"]
    command(*sweep)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("runs/*/result.json")}
    again = command(*sweep)
    assert again.stdout.count("already done") == 2
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.glob("runs/*/result.json")}


def test_a_wrong_cell_does_not_stop_the_others_and_is_named(command: Command, tmp_path: Path) -> None:
    done = command(
        "-m", "method=random,dm", "dataset=digits", "ipc=1", "profile=smoke", "ipc.images_per_class=1,500"
    )
    assert done.returncode == 2
    assert results(tmp_path) == {("random", 1), ("dm", 1)}
    assert "2 of 4 cells did not finish" in done.stderr
    assert "ipc.images_per_class=500" in done.stderr


FEW = ["-m", "method=random", "dataset=digits", "ipc=1", "profile=smoke", "experiment_name=foo_table1"]


@pytest.mark.parametrize(
    ("damage", "code", "line"),
    [
        pytest.param("foreign", 2, "foo/table1.csv: not a table", id="foreign table"),
        pytest.param("file", 1, "results", id="a file in place of the folder"),
    ],
)
def test_a_table_that_cannot_be_written_is_one_line_and_not_success(
    command: Command, tmp_path: Path, damage: str, code: int, line: str
) -> None:
    results = tmp_path / "results"
    if damage == "file":
        results.write_text("no folder")
    else:
        (results / "foo").mkdir(parents=True)
        (results / "foo" / "table1.csv").write_text("hello\n")
    done = command(*FEW, f"tables_root={results}")
    assert done.returncode == code, done.stderr
    (error,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert line in error
    assert "Traceback" not in done.stderr
    assert "Callback" not in done.stderr


def test_the_command_of_a_table_has_all_words_but_places() -> None:
    words = ["method=random,dm", "ipc='1','10'", "seed=range(0,10)", "tables_root=/x", "threads=1"]
    assert command_of(words) == "python run.py -m method=random,dm ipc=1,10 'seed=range(0,10)'"
    assert command_of(["experiment=demo", "seed=0"]) == "python run.py experiment=demo seed=0"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "ray", "submitit_local"])
def test_every_launcher_gives_the_same_results(program: Command, tmp_path: Path, launcher: str) -> None:
    (tmp_path / "basic").mkdir()
    (tmp_path / "other").mkdir()
    program(*SWEEP, "threads=1", roots=tmp_path / "basic")
    done = program(*SWEEP, "threads=1", f"hydra/launcher={launcher}", roots=tmp_path / "other", timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert results(tmp_path / "other") == ALL

    def measures(part: str) -> dict[str, object]:
        found = [json.loads(file.read_text()) for file in (tmp_path / part).glob("runs/*/result.json")]
        return {result["run_id"]: result["measures"] for result in found}

    assert measures("basic") == measures("other")


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        ("slurm", ["gpus_per_node: 1", "max_num_timeout: 5"]),
        ("ray_cluster", ["address: auto", "num_gpus: 1"]),
    ],
    ids=["slurm", "ray_cluster"],
)
def test_the_presets_for_clusters_compose(command: Command, launcher: str, words: list[str]) -> None:
    shown = command(f"hydra/launcher={launcher}", "--cfg", "hydra", "--package", "hydra.launcher").stdout
    for word in words:
        assert word in shown
