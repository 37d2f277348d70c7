"""The papers' own numbers: every committed file has the form that tables need."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_bench.errors import UserError
from distill_bench.metrics import METRICS
from distill_bench.reporting import read_reference, reference_file, reference_folder
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "results" / "reference"
FILES = sorted(FOLDER.glob("*.csv"))
HEAD = "method,setting,metric,value,std,protocol,source,mark\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_reference_file_is_whole(file: Path) -> None:
    numbers = reference_file(file)
    assert numbers
    assert {number.metric for number in numbers} <= METRICS.keys()
    places = [(number.method, number.setting, number.metric) for number in numbers]
    assert len(set(places)) == len(places), "a number stands twice"
    assert all(number.source for number in numbers)


def test_the_main_table_of_datadam_has_all_its_columns() -> None:
    numbers = reference_file(FOLDER / "datadam_table1.csv")
    names = ["random", "herding", "kcenter", "dc", "dsa", "dm", "cafe", "kip", "mtt", "datadam", "full"]
    assert list(dict.fromkeys(number.method for number in numbers)) == names
    best = max((n for n in numbers if n.setting == "cifar10 ipc=50"), key=lambda number: number.value)
    assert (best.method, best.value, best.std) == ("datadam", 67.0, 0.4)
    assert {n.method for n in numbers if n.mark == "recalled"} == {"herding"}


def test_doubtful_numbers_carry_their_caution() -> None:
    numbers = reference_file(FOLDER / "datadam_table1.csv")
    doubtful = {(n.method, n.setting) for n in numbers if "caution" in n.source and n.method == "kcenter"}
    assert doubtful == {("kcenter", "cifar100 ipc=1"), ("kcenter", "cifar100 ipc=10")}


def test_the_numbers_are_found_from_any_folder(tmp_path: Path) -> None:
    assert reference_folder(tmp_path) == FOLDER
    (tmp_path / "reference").mkdir()
    assert reference_folder(tmp_path) == tmp_path / "reference"
    assert read_reference(tmp_path / "reference") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("method,value\n", "columns", id="columns"),
        pytest.param(f"{HEAD}dm,s,accuracy,much,,p,s,verified\n", "line 2: value", id="no number"),
        pytest.param(f"{HEAD}dm,s,accuracy,1,,p,s,guessed\n", "line 2: mark=guessed", id="mark"),
    ],
)
def test_a_wrong_reference_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        reference_file(file)
