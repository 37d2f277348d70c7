"""What a user sees on the terminal at the end of a run and of a sweep."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from distill_bench.errors import UserError
from distill_bench.reporting import pivot, read_results, read_table, show_result, show_sweep
from distill_bench.reporting.table import rows
from tests.conftest import REPOSITORY
from tests.reporting import build


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100, highlight=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def accuracy(method: str, value: float, seed: int = 0, ipc: int = 1, **more: Any) -> dict[str, Any]:
    measures = [
        build.measure("accuracy", value, value + 2, student="convnet"),
        build.measure("full_data_accuracy", 84.5, student="convnet"),
    ]
    return build.content(method, build.images("cifar10", ipc, **more), measures, seed)


def test_a_pivot_has_methods_down_settings_across_and_the_ceiling_below(
    tmp_path: Path, console: Console
) -> None:
    for ipc in (10, 1):
        for seed in (0, 1):
            build.write(tmp_path, accuracy("dm", 25.0 + ipc, seed, ipc))
            build.write(tmp_path, accuracy("random", 14.0 + ipc, seed, ipc))
    console.print(pivot(read_results(tmp_path)))
    lines = [line.split() for line in printed(console).splitlines() if line.strip()]
    assert ["method", "ipc", "1", "ipc", "10"] in lines
    assert ["dm", "27.0", "±", "1.2", "36.0", "±", "1.2"] in lines
    assert ["full", "data", "84.5", "84.5"] in lines
    assert "n = 2 × 2" in printed(console)


def test_a_number_is_never_cut_short_on_a_narrow_terminal(tmp_path: Path) -> None:
    for target in (3, 4, 5):
        cell = build.mixture(target, mixture="random", dimension=4)
        measure = build.measure("distance", 0.15042, 0.15791)
        build.write(tmp_path, build.content("runnalls", cell, [measure]))
    narrow = Console(file=io.StringIO(), width=50, highlight=False)
    narrow.print(pivot(read_results(tmp_path)))
    assert "…" not in printed(narrow)
    assert printed(narrow).count("0.1542") == printed(narrow).count("0.0053") == 3


def test_what_was_made_under_another_profile_is_another_table(tmp_path: Path, console: Console) -> None:
    for profile in ("fast", "paper"):
        build.write(tmp_path, accuracy("dm", 25.0, profile=profile))
    console.print(pivot(read_results(tmp_path)))
    assert printed(console).count("cifar10 · protocol dc · profile") == 2


def test_a_run_shows_its_measures_and_where_its_files_lie(tmp_path: Path, console: Console) -> None:
    result = accuracy("dm", 25.0)
    build.add_picture(tmp_path / "runs", result, np.zeros((10, 1, 3, 8, 8)), ["class"] * 10)
    show_result(result, tmp_path / "runs", console)
    text = printed(console)
    for part in (result["run_id"], "26.0 ± 1.4", "cifar10 · ipc 1", "84.5", build.CPU, "synthetic.png"):
        assert part in text


def test_brackets_in_names_are_not_markup(tmp_path: Path, console: Console) -> None:
    show_result(accuracy("[red]dm[/red]", 25.0), tmp_path, console)
    assert "[red]dm[/red]_cifar10" in printed(console)


def test_an_experiment_is_merged_into_its_table_beside_the_paper(tmp_path: Path, console: Console) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    one, other = accuracy("dm", 25.0), accuracy("datadam", 31.0)
    for content in (one, other):
        build.write(runs, content)
        show_sweep([content["run_id"]], runs, results, "datadam_table1", console)
    table = read_table(results / "datadam" / "table1.csv")
    found = {row.method: row for row in table if row.cell == "cifar10 · ipc 1" and row.metric == "accuracy"}
    assert {name for name, row in found.items() if row.mean is not None} == {"dm", "datadam"}
    assert (found["datadam"].paper, found["mtt"].paper, found["datadam"].gap) == (
        32.0,
        31.9,
        pytest.approx(0.0),
    )
    assert str(results / "datadam" / "table1.md") in printed(console).replace("\n", "")


def test_sweeps_of_ones_own_share_a_table_for_each_task(tmp_path: Path, console: Console) -> None:
    kl = build.content("west", build.mixture(), [build.measure("kl", 0.1)])
    for content in (accuracy("dm", 25.0), accuracy("random", 15.0), kl):
        build.write(tmp_path / "runs", content)
        show_sweep([content["run_id"]], tmp_path / "runs", tmp_path / "tables", "", console)
    assert "26.0 ± 1.4" in printed(console)
    methods = {
        file.stem: {row.method for row in read_table(file)} for file in tmp_path.glob("tables/sweeps/*.csv")
    }
    assert methods == {"dataset_distillation": {"dm", "random", "full"}, "mixture_reduction": {"west"}}


def test_a_sweep_ends_with_its_table_three_things_to_look_at_and_the_next_command(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs, best = Path("runs"), accuracy("dm", 25.0)
    for content in (best, accuracy("random", 15.0)):
        build.add_picture(runs, content, np.zeros((10, 1, 3, 8, 8)), ["class"] * 10)
        build.write(runs, content)
    show_sweep([best["run_id"]], runs, Path("tables"), "x_table1", console)
    text = printed(console)
    things = text[text.index("look at") : text.index("next")].split("\n")[1:4]
    places = [line.split()[0] for line in things]
    assert places == [
        "tables/x/table1.md",
        "tables/x/table1.png",
        f"products/{best['product']['id']}/synthetic.png",
    ]
    assert all(Path(place).is_file() for place in places)
    assert "make report" in text[text.index("next") :]


def test_a_run_stands_beside_the_paper_chance_and_random_images(tmp_path: Path, console: Console) -> None:
    run, random = accuracy("dm", 25.0), accuracy("random", 13.0)
    for content in (run, random):
        content["config"]["dataset"] = {"num_classes": 10}
        build.write(tmp_path, content)
    run["provenance"]["command"] = "python run.py method=dm dataset=cifar10 ipc=1 seed=0"
    show_result(run, tmp_path, console)
    text = printed(console)
    (line,) = [line for line in text.splitlines() if line.startswith("accuracy")]
    assert line.split()[-6:] == ["25.0,", "27.0", "26.0", "±", "0.8", "+0.0"]
    for part in (
        "protocol dc · profile paper",
        "chance: 10.0 %",
        "random images: 14.0 ± 1.4 % (n = 1 × 2)",
        "result.json",
        "python run.py -m method=random,dm dataset=cifar10 ipc=1 seed=0,1,2",
    ):
        assert part in text


def test_the_next_step_is_one_that_random_images_take_too(tmp_path: Path, console: Console) -> None:
    run = accuracy("dm", 25.0, settings={"method.iterations": 9})
    run["provenance"]["command"] = "python run.py method=dm method.iterations=9 dataset=cifar10"
    show_result(run, tmp_path, console)
    assert "python run.py -m method=dm method.iterations=9 dataset=cifar10 seed=0,1,2" in printed(console)


@pytest.mark.parametrize("profile", ["smoke", "fast", "paper"])
def test_only_a_smoke_run_says_that_its_numbers_mean_nothing(
    tmp_path: Path, console: Console, profile: str
) -> None:
    run = accuracy("dm", 25.0, profile=profile)
    build.write(tmp_path / "runs", run)
    show_result(run, tmp_path / "runs", console)
    show_sweep([run["run_id"]], tmp_path / "runs", tmp_path / "tables", "x_table1", console)
    text = printed(console) + (tmp_path / "tables" / "x" / "table1.md").read_text()
    assert text.count("mean nothing") == (4 if profile == "smoke" else 0)


def test_a_sweep_in_which_a_result_is_damaged_shows_the_others(
    tmp_path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = [accuracy("dm", 25.0), accuracy("random", 14.0)]
    folders = [build.write(tmp_path, content) for content in contents]
    (folders[0] / "result.json").write_text("{")
    show_sweep([content["run_id"] for content in contents], tmp_path, tmp_path / "results", "", console)
    assert "random" in printed(console)
    assert contents[0]["run_id"] in capsys.readouterr().err


def test_a_row_says_the_size_of_its_evaluation(tmp_path: Path) -> None:
    for method, epochs in (("dm", 150), ("random", 1000)):
        content = accuracy(method, 25.0)
        content["config"]["student"] = {"name": "convnet", "width": 32}
        content["config"]["protocol"] = {"epochs": epochs, "nets": 3}
        build.write(tmp_path, content)
    sizes = {row.method: row.size for row in rows(read_results(tmp_path)) if row.method != "full"}
    assert sizes["dm"] == "convnet of width 32, E = 150, 3 networks a set"
    assert sizes["random"] == "convnet of width 32, E = 1000, 3 networks a set"


def test_a_cell_is_shown_with_all_its_seeds_on_disk_and_nothing_else(
    tmp_path: Path, console: Console
) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    other = accuracy("dm", 35.0, 1, settings={"method.lr": 2})
    old, new = accuracy("dm", 25.0, 0), accuracy("dm", 27.0, 2)
    for content in (old, other, new):
        build.write(runs, content)
    show_sweep([new["run_id"]], runs, results, "x_table1", console, command="python run.py -m seed=2")
    (row,) = [row for row in read_table(results / "x" / "table1.csv") if row.metric == "accuracy"]
    assert (row.mean, row.count, row.settings) == (27.0, "2 × 2", {})
    assert "`python run.py -m seed=2`" in (results / "x" / "table1.md").read_text()


def test_a_cell_that_is_run_again_elsewhere_with_fewer_seeds_changes_no_row(
    tmp_path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    for runs, seeds in (("many", range(3)), ("few", range(1))):
        contents = [accuracy("dm", 25.0 + seed, seed) for seed in seeds]
        for content in contents:
            build.write(tmp_path / runs, content)
        show_sweep([c["run_id"] for c in contents], tmp_path / runs, results, "x_table1", console)
    (row,) = [row for row in read_table(results / "x" / "table1.csv") if row.metric == "accuracy"]
    assert row.count == "3 × 2"
    assert "kept dm · cifar10 · ipc 1 · accuracy" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "x_", ".x"])
def test_the_name_of_an_experiment_leads_to_no_other_folder(
    tmp_path: Path, console: Console, name: str
) -> None:
    with pytest.raises(UserError, match="experiment_name="):
        show_sweep([], tmp_path / "runs", tmp_path / "results", name, console)
    assert not list(tmp_path.iterdir())


def test_damaged_numbers_of_a_paper_are_one_line(tmp_path: Path, console: Console) -> None:
    reference = tmp_path / "results" / "reference"
    reference.mkdir(parents=True)
    (reference / "foo_table1.csv").write_text("method,value\n")
    with pytest.raises(UserError, match=r"foo_table1\.csv: columns"):
        show_sweep([], tmp_path / "runs", tmp_path / "results", "foo_table1", console)


PRINT = """
import sys
from distill_bench.reporting.console import standard_console
console = standard_console()
for line in range(2_000):
    console.print("26.0 ± 1.4 " * 10)
print("went on", file=sys.stderr)
"""


@pytest.mark.parametrize("end", ["| cat > /dev/null", "| true", "> /dev/full", ">&-"])
def test_no_output_stops_what_follows(end: str) -> None:
    line = f"set -o pipefail; {shlex.quote(sys.executable)} -c {shlex.quote(PRINT)} {end}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "went on\n")
