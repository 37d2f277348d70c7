"""The papers' own numbers: every committed file has the form that tables need."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_bench.errors import UserError
from distill_bench.metrics import METRICS
from distill_bench.reporting import read_reference, reference_file, reference_folder
from distill_bench.reporting.axes import axes_key, describe
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "results" / "reference"
FILES = sorted(FOLDER.glob("*.csv"))
HEAD = "method,dataset,ipc,metric,value,std,protocol,source,mark\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_reference_file_is_whole(file: Path) -> None:
    numbers = reference_file(file)
    assert numbers
    assert {number.metric for number in numbers} <= METRICS.keys()
    places = [(number.method, axes_key(number.axes), number.metric) for number in numbers]
    assert len(set(places)) == len(places), "a number stands twice"
    assert all(number.source for number in numbers)


def test_the_main_table_of_datadam_has_all_its_columns() -> None:
    numbers = reference_file(FOLDER / "datadam_table1.csv")
    names = ["random", "herding", "kcenter", "dc", "dsa", "dm", "cafe", "kip", "mtt", "datadam", "full"]
    assert list(dict.fromkeys(number.method for number in numbers)) == names
    best = max(
        (n for n in numbers if describe(n.axes) == "cifar10 · ipc 50"), key=lambda number: number.value
    )
    assert (best.method, best.value, best.std) == ("datadam", 67.0, 0.4)
    assert {n.method for n in numbers if n.mark == "recalled"} == {"herding"}


def test_doubtful_numbers_carry_their_caution() -> None:
    numbers = reference_file(FOLDER / "datadam_table1.csv")
    doubtful = {
        (n.method, describe(n.axes)) for n in numbers if "caution" in n.source and n.method == "kcenter"
    }
    assert doubtful == {("kcenter", "cifar100 · ipc 1"), ("kcenter", "cifar100 · ipc 10")}


def test_the_numbers_are_found_from_any_folder(tmp_path: Path) -> None:
    assert reference_folder(tmp_path) == FOLDER
    (tmp_path / "reference").mkdir()
    assert reference_folder(tmp_path) == tmp_path / "reference"
    assert read_reference(tmp_path / "reference") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("method,value\n", "columns", id="columns"),
        pytest.param("", "columns", id="empty"),
        pytest.param(HEAD.replace("dataset,ipc", "setting"), "columns", id="earlier version"),
        pytest.param(HEAD.replace("dataset,ipc,", ""), "columns", id="no axes"),
        pytest.param(HEAD.replace("ipc", "dataset"), "columns", id="a column twice"),
        pytest.param(f"{HEAD}dm,s,1,accuracy,much,,p,s,verified\n", "line 2: value", id="no number"),
        pytest.param(f"{HEAD}dm,s,1,accuracy,nan,,p,s,verified\n", "line 2: value", id="NaN"),
        pytest.param(f"{HEAD}dm,s,1,luck,1,,p,s,verified\n", "line 2: unknown metric", id="metric"),
        pytest.param(f"{HEAD}dm,s,1,accuracy,1,,p,s,guessed\n", "line 2: mark=guessed", id="mark"),
        pytest.param(f"{HEAD}dm,s,1\n", "line 2: 3 cells", id="short line"),
    ],
)
def test_a_wrong_reference_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        reference_file(file)


def test_bytes_in_place_of_a_reference_file_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "good.csv").write_text(f"{HEAD}dm,s,1,accuracy,1,,p,s,verified\n")
    with pytest.raises(UserError, match=r"bad\.csv: not a text file"):
        read_reference(tmp_path)
    warnings: list[str] = []
    assert [number.axes for number in read_reference(tmp_path, warnings.append)] == [
        {"dataset": "s", "ipc": 1}
    ]
    assert len(warnings) == 1


def test_the_whole_training_set_has_neither_size_nor_distiller() -> None:
    numbers = [number for file in FILES for number in reference_file(file) if number.method == "full"]
    assert numbers
    assert {tuple(number.axes) for number in numbers} == {("dataset", "student")}
