"""Reading result files: ours are read, anything else is named and left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_bench.reporting import read_result, read_results
from tests.reporting import build


def good() -> dict[str, Any]:
    return build.content("dm", build.images(), [build.measure("accuracy", 26.1, 25.3, student="convnet")])


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = good()
    build.write(tmp_path, written)
    (result,) = read_results(tmp_path)
    assert [measure.as_dict() for measure in result.measures] == written["measures"]
    fields = ("run_id", "cell_id", "task", "method", "labels", "seed", "config", "artifacts", "provenance")
    assert {key: getattr(result, key) for key in fields} == {key: written[key] for key in fields}


def test_a_folder_that_does_not_exist_has_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(json.dumps(good())[:-40], "not whole JSON", id="truncated"),
        pytest.param("[1, 2]", "no JSON object", id="a list"),
        pytest.param('{"result": 3}', "schema 1", id="foreign"),
        pytest.param(json.dumps({**good(), "schema": 2}), "schema 1", id="of another schema"),
        pytest.param(json.dumps({**good(), "status": "failed"}), "not a finished result", id="unfinished"),
        pytest.param(json.dumps({**good(), "labels": None}), "labels", id="without labels"),
        pytest.param(
            json.dumps({**good(), "measures": [{"name": "accuracy"}]}), "measure", id="measure without values"
        ),
        pytest.param(
            json.dumps({**good(), "measures": [build.measure("luck", 1.0)]}), "luck", id="unknown metric"
        ),
        pytest.param(
            json.dumps({**good(), "measures": [build.measure("ise", float("nan"))]}), "finite", id="NaN"
        ),
        pytest.param(json.dumps(good()), "not the name of its folder", id="copied to another folder"),
    ],
)
def test_a_file_that_is_not_a_result_is_named_and_skipped(tmp_path: Path, text: str, reason: str) -> None:
    build.write(tmp_path, good())
    bad = tmp_path / "zz_other"
    bad.mkdir()
    (bad / "result.json").write_text(text)
    warnings: list[str] = []
    assert [result.method for result in read_results(tmp_path, warnings.append)] == ["dm"]
    (line,) = warnings
    assert str(bad / "result.json") in line
    assert reason in line
    assert "\n" not in line


def test_bytes_that_are_not_text_are_named_and_skipped(tmp_path: Path) -> None:
    bad = tmp_path / "other"
    bad.mkdir()
    (bad / "result.json").write_bytes(b"\xff\xfe\x00")
    warnings: list[str] = []
    assert read_results(tmp_path, warnings.append) == []
    assert "not a text file" in warnings[0]


def test_an_artifact_outside_the_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    written = good()
    written["artifacts"] = {"picture": "../secret.png", "product": "missing.safetensors"}
    result = read_result(build.write(tmp_path, written))
    assert result.artifact("picture") is None
    assert result.artifact("product") is None
    assert result.artifact("never made") is None


def test_curves_leave_out_a_line_cut_off_by_a_kill(tmp_path: Path) -> None:
    folder = build.write(tmp_path, good(), points=[{"phase": "distil", "step": 0, "loss": 1.0}])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('3\n{"phase": "distil", "st')
    assert read_result(folder).points() == [{"phase": "distil", "step": 0, "loss": 1.0}]
