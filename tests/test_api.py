"""From Python: the runs of the command line, with its errors as exceptions, and all results as one table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

import distill_bench
from distill_bench.api import Result
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.interrupt import Interrupted
from distill_bench.products import SyntheticSet
from tests.conftest import REPOSITORY
from tests.reporting import build

WORDS = ("method=dm", "dataset=digits", "ipc=1", "profile=smoke")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a test makes lies in its own folder, which is the working one."""
    monkeypatch.chdir(tmp_path)
    for place in ("products", "runs", "cache"):
        monkeypatch.delenv(f"DISTILL_BENCH_{place.upper()}", raising=False)


@pytest.fixture
def result() -> Result:
    return distill_bench.run(*WORDS)


def test_a_run_gives_its_measures_its_product_and_its_record(result: Result) -> None:
    assert json.loads((result.folder / "result.json").read_text()) == result.record
    (accuracy,) = [m for m in result.record["measures"] if m["name"] == "accuracy"]
    assert result.measures["accuracy"] == pytest.approx(sum(accuracy["values"]) / len(accuracy["values"]))
    assert isinstance(result.product, SyntheticSet)
    assert torch.equal(result.product.images, distill_bench.load(result.folder).images)


def test_it_looks_like_the_end_of_a_command_line(result: Result) -> None:
    text = repr(result)
    assert text.startswith(result.record["run_id"])
    for part in ("accuracy (%)", "digits · ipc 1", "picture: "):
        assert part in text


def test_it_is_the_run_of_the_command_line(
    result: Result, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = (result.folder / "result.json").read_bytes()
    done = command(*WORDS)
    assert done.stdout.startswith(f"already done: {result.record['run_id']}")
    assert (result.folder / "result.json").read_bytes() == before


def test_what_is_done_is_not_done_again(result: Result) -> None:
    file = result.folder / "result.json"
    before = file.stat().st_mtime_ns
    assert distill_bench.run(*WORDS).record == result.record
    assert file.stat().st_mtime_ns == before
    assert distill_bench.run(*WORDS, "force=true").record["run_id"] == result.record["run_id"]
    assert file.stat().st_mtime_ns > before


def test_folders_may_lie_elsewhere(tmp_path: Path) -> None:
    roots = [f"{name}_root={tmp_path / 'elsewhere' / name}" for name in ("products", "runs", "cache")]
    result = distill_bench.run(*WORDS, *roots)
    assert result.folder.parent == tmp_path / "elsewhere" / "runs"
    assert len(result.product) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


WRONG = {
    "unknown method": ("method=datadm", ["did you mean 'datadam'"]),
    "unknown key": ("method.iteratons=3", ["method.iteratons: unknown key", "did you mean 'iterations'"]),
    "unknown group": ("metod=dm", ["did you mean 'method'"]),
    "out of range": ("protocol.nets=0", ["protocol.nets=0", "from 1 to 1000"]),
    "unused group": ("mixture=random", ["method=dm does not use mixture"]),
    "two words in one": ("method=dm dataset=digits", ["several words in one text"]),
    "no word at all": ("method: dm", ["method: dm: "]),
    "several seeds": ("seed=0,1", ["seed=0,1: several values are a sweep", "run.py -m"]),
    "several sizes": ("ipc=1,10", ["several values are a sweep", "run.py -m"]),
    "a range": ("seed=range(0,3)", ["several values are a sweep"]),
    "several methods": ("method=dm,random", ["several values are a sweep"]),
    "an experiment": ("experiment=datadam_table1", ["several runs", "run.py experiment=datadam_table1"]),
    "a flag": ("-m", ["-m: for the command line alone"]),
    "a launcher": ("hydra/launcher=joblib", ["for the command line alone"]),
    "no such device": ("device=gpu", ["device=gpu", "auto, cpu, cuda"]),
}


@pytest.mark.parametrize(("word", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_a_user_error_of_one_line_and_leaves_nothing(
    tmp_path: Path, word: str, said: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        distill_bench.run(*WORDS, word)
    (line,) = str(caught.value).splitlines()
    assert all(part in line for part in said), line
    assert not list(tmp_path.iterdir())


def test_absent_data_are_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no/such/folder"):
        distill_bench.run("method=dm", "dataset=imagefolder", "dataset.folder=no/such/folder", "ipc=1")
    assert not list(tmp_path.iterdir())


def test_a_stop_leaves_a_checkpoint_from_which_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "method.iterations=6"]
    handler = signal.getsignal(signal.SIGINT)
    log = Context.log

    def stop(self: Context, phase: str, step: int, **values: Any) -> None:
        log(self, phase, step, **values)
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "log", stop)
        with pytest.raises(KeyboardInterrupt, match=r"stopped at distil 4/6; its state is saved"):
            distill_bench.run(*words)
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.glob("products/*/unfinished/checkpoint-*"))
    resumed = distill_bench.run(*words)
    assert "going on from step 4 of 6" in capsys.readouterr().err
    whole = distill_bench.run(*words, *(f"{name}_root=whole/{name}" for name in ("products", "runs")))
    assert resumed.record["product"]["digest"] == whole.record["product"]["digest"]
    assert not issubclass(KeyboardInterrupt, Interrupted)


def test_it_runs_inside_an_application_of_hydras_that_has_another_config(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mine.yaml").write_text("seed: 7\n")
    with initialize_config_dir(version_base="1.3", config_dir=str(tmp_path / "conf")):
        assert distill_bench.run(*WORDS).record["seed"] == 0
        assert compose("mine").seed == 7


def test_the_face_is_light_and_a_function_whatever_is_imported() -> None:
    code = (
        "import sys, distill_bench; before = set(sys.modules)\n"
        "assert not {'torch', 'numpy', 'pandas', 'hydra'} & before, before\n"
        "import distill_bench.app, distill_bench.runner, distill_bench.running\n"
        "print(callable(distill_bench.run), callable(distill_bench.results), callable(distill_bench.load))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"] * 3


# ---- measures by name -------------------------------------------------------------------------------------


def of(measures: list[dict[str, Any]]) -> Result:
    record = build.content("dm", build.images(), measures)
    return Result(record, Path("runs") / record["run_id"], Path("products"))


def test_measures_are_named_with_facets_but_for_the_runs_own_network() -> None:
    result = of(
        [
            build.measure("accuracy", 10.0, 20.0, student="convnet"),
            build.measure("accuracy", 30.0, student="alexnet"),
            build.measure("cmi", 0.5, by="independent"),
            build.measure("full_data_accuracy", 90.0, student="convnet"),
        ]
    )
    assert result.measures == {
        "accuracy": 15.0,
        "accuracy student=alexnet": 30.0,
        "cmi by=independent": 0.5,
        "full_data_accuracy": 90.0,
    }


def test_a_product_that_is_not_there_is_an_error_when_it_is_asked_for() -> None:
    result = of([build.measure("accuracy", 10.0)])
    assert result.measures == {"accuracy": 10.0}
    with pytest.raises(UserError, match="no such product"):
        _ = result.product


# ---- all results as a table -------------------------------------------------------------------------------


def test_results_have_a_line_for_every_value() -> None:
    settings = {"method.lr": 2}
    measures = [
        build.measure("accuracy", 10.0, 20.0, student="convnet"),
        build.measure("cmi", 0.5, by="independent"),
    ]
    build.write(Path("runs"), build.content("dm", build.images(settings=settings), measures, seed=3))
    build.write(Path("runs"), build.content("west", build.mixture(), [build.measure("ise", 0.1)]))
    frame = distill_bench.results()
    assert len(frame) == 4
    accuracy = frame[frame.metric == "accuracy"]
    assert accuracy["value"].tolist() == [10.0, 20.0]
    assert accuracy["repeat"].tolist() == [0, 1]
    for column, wanted in {
        "task": "dataset_distillation",
        "dataset": "cifar10",
        "ipc": 1,
        "student": "convnet",
        "protocol": "dc",
        "profile": "paper",
        "seed": 3,
        "unit": "%",
        "device": build.CPU,
        "data": "feedbeef",
    }.items():
        assert set(accuracy[column]) == {wanted}, column
    assert json.loads(accuracy["settings"].iloc[0]) == settings
    (ise,) = frame[frame.metric == "ise"].to_dict("records")
    assert (ise["mixture"], ise["target"], ise["method"]) == ("classic", 5, "west")
    assert pd.isna(ise["dataset"]) and pd.isna(ise["by"]) and pd.isna(ise["ipc"])


def test_numbers_of_axes_stay_whole_so_that_rows_can_be_chosen_and_grouped() -> None:
    for ipc in (1, 10):
        accuracy = build.measure("accuracy", 10.0 * ipc, 12.0 * ipc, student="convnet")
        build.write(Path("runs"), build.content("dm", build.images(ipc=ipc), [accuracy]))
    build.write(Path("runs"), build.content("west", build.mixture(), [build.measure("ise", 0.1)]))
    frame = distill_bench.results("runs")
    means = frame[frame.metric == "accuracy"].groupby("ipc")["value"].mean()
    assert means.to_dict() == {1: 11.0, 10: 110.0}


def test_a_fact_of_the_run_is_not_hidden_by_an_axis_of_its_name() -> None:
    content = build.content("dm", build.images(), [build.measure("accuracy", 1.0, value="x", seed="y")])
    build.write(Path("runs"), content)
    frame = distill_bench.results()
    assert (frame["value"].tolist(), frame["seed"].tolist()) == ([1.0], [0])


def test_a_damaged_result_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    build.write(Path("runs"), build.content("dm", build.images(), [build.measure("accuracy", 1.0)]))
    (Path("runs") / "broken").mkdir()
    (Path("runs") / "broken" / "result.json").write_text("{")
    assert len(distill_bench.results()) == 1
    assert "broken" in capsys.readouterr().err


def test_an_empty_folder_has_an_empty_table_and_none_is_an_error() -> None:
    Path("runs").mkdir()
    assert {"run_id", "metric", "value"} <= set(distill_bench.results().columns)
    assert distill_bench.results().empty
    with pytest.raises(UserError, match="results=nowhere: must be a folder of runs"):
        distill_bench.results("nowhere")


def test_the_frame_of_a_run_is_its_part_of_all_results(result: Result) -> None:
    pd.testing.assert_frame_equal(result.frame(), distill_bench.results())


# ---- a notebook -------------------------------------------------------------------------------------------

NOTEBOOK = """
import distill_bench
words = ["dataset=digits", "profile=smoke"]

for method in ("random", "dm"):
    for ipc in (1, 10):
        result = distill_bench.run(f"method={method}", f"ipc={ipc}", *words)

repr(result)

assert len(result.product.pixels()) == len(result.product.labels) == 100

frame = distill_bench.results("runs")
table = frame[frame.metric == "accuracy"].pivot_table("value", "method", "ipc", "mean")
"""  # cells stand apart


def test_a_notebook_compares_two_methods_at_two_sizes() -> None:
    names: dict[str, Any] = {}
    for cell in NOTEBOOK.split("\n\n"):
        exec(cell, names)
    table = names["table"]
    assert table.index.tolist() == ["dm", "random"] and table.columns.tolist() == [1, 10]
    assert table.loc["dm", 10] == pytest.approx(names["result"].measures["accuracy"])
    assert bool(((table > 0) & (table <= 100)).all().all())


def test_the_lines_of_the_readme_run() -> None:
    section = (REPOSITORY / "README.md").read_text().split("## From Python\n")[1].split("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert isinstance(names["result"], Result) and isinstance(names["digits"], SyntheticSet)
    assert names["accuracy"]["value"].mean() == pytest.approx(names["result"].measures["accuracy"])
