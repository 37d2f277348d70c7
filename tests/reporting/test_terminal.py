"""What a user sees on the terminal at the end of a run and of a sweep."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distill_bench.reporting import pivot, read_results, read_table, show_result, show_sweep
from distill_bench.reporting.terminal import sizes
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
        build.measure("full_data_accuracy", 84.5),
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
    assert ["method", "ipc=1", "ipc=10"] in lines
    assert ["dm", "27.0", "±", "1.2", "36.0", "±", "1.2"] in lines
    assert ["full", "data", "84.5", "84.5"] in lines
    assert "n = 2 × 2" in printed(console)


def test_a_number_is_never_cut_short_on_a_narrow_terminal(tmp_path: Path) -> None:
    for target in (3, 4, 5):
        labels = build.mixture(target, mixture="random", dimension=4)
        build.write(
            tmp_path, build.content("runnalls", labels, [build.measure("distance", 0.15042, 0.15791)])
        )
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
    result["artifacts"] = {"picture": "synthetic.png"}
    show_result(result, tmp_path, console)
    text = printed(console)
    for part in (result["run_id"], "26.0 ± 1.4", "cifar10 ipc=1", "84.5", build.CPU, "synthetic.png"):
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
    found = {row.method: row for row in table if row.setting == "cifar10 ipc=1" and row.metric == "accuracy"}
    assert {name for name, row in found.items() if row.mean is not None} == {"dm", "datadam"}
    assert (found["datadam"].paper, found["mtt"].paper, found["datadam"].gap) == (
        32.0,
        31.9,
        pytest.approx(0.0),
    )
    assert str(results / "datadam" / "table1.md") in printed(console).replace("\n", "")


def test_a_sweep_of_ones_own_is_printed_and_nothing_written(tmp_path: Path, console: Console) -> None:
    content = accuracy("dm", 25.0)
    build.write(tmp_path / "runs", content)
    show_sweep([content["run_id"]], tmp_path / "runs", tmp_path / "results", "", console)
    assert "26.0 ± 1.4" in printed(console)
    assert not (tmp_path / "results").exists()


def test_a_sweep_in_which_a_result_is_damaged_shows_the_others(
    tmp_path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = [accuracy("dm", 25.0), accuracy("random", 14.0)]
    folders = [build.write(tmp_path, content) for content in contents]
    (folders[0] / "result.json").write_text("{")
    show_sweep([content["run_id"] for content in contents], tmp_path, tmp_path / "results", "", console)
    assert "random" in printed(console)
    assert contents[0]["run_id"] in capsys.readouterr().err


def test_a_table_says_the_size_that_all_its_runs_share(tmp_path: Path) -> None:
    for method, width in (("dm", 32), ("random", 32)):
        content = accuracy(method, 25.0)
        content["config"] = {
            "student": {"name": "convnet", "width": width},
            "protocol": {"epochs": 150, "nets": 3},
        }
        build.write(tmp_path, content)
    results = read_results(tmp_path)
    assert sizes(results) == ["convnet of width 32", "E = 150", "3 networks a set"]
    results[0].config["protocol"]["epochs"] = 1000
    assert sizes(results) == ["convnet of width 32", "3 networks a set"]
    assert sizes([]) == []
