"""Reading result files: ours are read, anything else is named and left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_bench.reporting import read_result, read_results
from tests.reporting import build


def good(**changes: Any) -> dict[str, Any]:
    measures = [build.measure("accuracy", 26.1, 25.3, student="convnet")]
    return {**build.content("dm", build.images(), measures), **changes}


def provenance(**changes: Any) -> dict[str, Any]:
    return good(provenance={**good()["provenance"], **changes})


def product(**changes: Any) -> dict[str, Any]:
    return good(product={**good()["product"], **changes})


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = good(settings={"method.power": 1})
    build.write(tmp_path / "runs", written)
    (result,) = read_results(tmp_path / "runs")
    assert [measure.as_dict() for measure in result.measures] == written["measures"]
    fields = (
        "run_id",
        "cell_id",
        "task",
        "method",
        "axes",
        "protocol",
        "profile",
        "settings",
        "seed",
        "config",
    )
    assert {key: getattr(result, key) for key in fields} == {key: written[key] for key in fields}
    assert (result.artifacts, result.provenance) == (written["artifacts"], written["provenance"])
    assert (result.product.id, result.product.digest) == (
        written["product"]["id"],
        written["product"]["digest"],
    )
    assert result.product_folder == tmp_path / "products" / result.product.id


def test_products_lie_where_they_are_said_to_lie(tmp_path: Path) -> None:
    folder = build.write(tmp_path / "runs", good())
    result = read_result(folder, products_root=tmp_path / "elsewhere")
    assert result.product_folder == tmp_path / "elsewhere" / result.product.id


def test_a_folder_that_does_not_exist_has_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(json.dumps(good())[:-40], "not whole JSON", id="truncated"),
        pytest.param("", "not whole JSON", id="empty"),
        pytest.param("[1, 2]", "no JSON object", id="a list"),
        pytest.param("null", "no JSON object", id="null"),
        pytest.param("5", "no JSON object", id="a number"),
        pytest.param('{"result": 3}', "schema 2", id="foreign"),
        pytest.param(deep(100_000), "nested too deeply", id="deep beyond the parser"),
        pytest.param(json.dumps(good(config={"a": json.loads(deep(500))})), "nested too deeply", id="deep"),
        pytest.param(
            json.dumps(good(schema=1)), "made by an earlier version; run it again", id="earlier version"
        ),
        pytest.param(json.dumps(good(schema=3)), "schema 2", id="of another schema"),
        pytest.param(json.dumps(good(status="failed")), "not a finished result", id="unfinished"),
        pytest.param(json.dumps(good(axes=None)), "axes", id="without axes"),
        pytest.param(json.dumps(good(axes={})), "axes are empty", id="empty axes"),
        pytest.param(json.dumps(good(axes={"ipc": [1]})), "axes.ipc", id="axis of a wrong type"),
        pytest.param(json.dumps(good(seed=True)), "seed", id="seed of a wrong type"),
        pytest.param(json.dumps(good(settings=[])), "settings", id="settings of a wrong type"),
        pytest.param(json.dumps(good(artifacts={"picture": 3})), "artifacts", id="artifact of a wrong type"),
        pytest.param(json.dumps(product(id="../x")), "product.id", id="product elsewhere"),
        pytest.param(
            json.dumps(product(artifacts=None)), "product.artifacts", id="product without artifacts"
        ),
        pytest.param(json.dumps(provenance(seconds="x")), "seconds", id="seconds of a wrong type"),
        pytest.param(json.dumps(provenance(seconds=float("nan"))), "NaN", id="seconds NaN"),
        pytest.param(json.dumps(good(measures=[])), "measures are empty", id="no measures"),
        pytest.param(json.dumps(good(measures=[3])), "wrong measure", id="measure of a wrong type"),
        pytest.param(
            json.dumps(good(measures=[{"name": "accuracy"}])), "no values", id="measure without values"
        ),
        pytest.param(json.dumps(good(measures=[build.measure("luck", 1.0)])), "luck", id="unknown metric"),
        pytest.param(
            json.dumps(good(measures=[build.measure("ise", 1e308, 1e308)])), "finite, at most", id="1e308"
        ),
        pytest.param(json.dumps(good(measures=[build.measure("ise", 10**400)])), "finite", id="huge integer"),
        pytest.param(json.dumps(good(measures=[build.measure("ise", True)])), "finite", id="a truth value"),
        pytest.param(
            json.dumps(good(measures=[{"name": "ise", "values": [1.0], "facets": ["a"]}])),
            "facets",
            id="facets of a wrong type",
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


def test_bytes_that_are_not_text_and_folders_are_named_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "bytes").mkdir()
    (tmp_path / "bytes" / "result.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder" / "result.json").mkdir(parents=True)
    warnings: list[str] = []
    assert read_results(tmp_path, warnings.append) == []
    assert "not a text file" in warnings[0]
    assert str(tmp_path / "folder" / "result.json") in warnings[1]


def test_an_artifact_is_looked_for_in_the_run_and_then_in_the_product(tmp_path: Path) -> None:
    written = product(artifacts={"picture": "synthetic.png", "curve": "a.png"}) | {
        "artifacts": {"curve": "b.png"}
    }
    folder = build.write(tmp_path / "runs", written)
    result = read_result(folder)
    result.product_folder.mkdir(parents=True)
    for file in (result.product_folder / "synthetic.png", result.product_folder / "a.png", folder / "b.png"):
        file.write_bytes(b"x")
    assert result.artifact("picture") == (result.product_folder / "synthetic.png").resolve()
    assert result.artifact("curve") == (folder / "b.png").resolve()


def test_an_artifact_outside_the_folders_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    written = product(artifacts={"picture": "../../secret.png"})
    written["artifacts"] = {"picture": "../../secret.png", "product": "missing.safetensors", "zero": "\0"}
    result = read_result(build.write(tmp_path / "runs", written))
    for role in ("picture", "product", "zero", "never made"):
        assert result.artifact(role) is None


def test_curves_are_the_products_and_then_the_runs(tmp_path: Path) -> None:
    point = {"phase": "distil", "step": 0, "loss": 1.0}
    folder = build.write(tmp_path / "runs", good(), points=[{**point, "phase": "evaluate"}])
    result = read_result(folder)
    build.write_points(result.product_folder, [point])
    assert [each["phase"] for each in result.points()] == ["distil", "evaluate"]


def test_curves_leave_out_what_is_no_point(tmp_path: Path) -> None:
    point = {"phase": "distil", "step": 0, "loss": 1.0}
    folder = build.write(tmp_path / "runs", good(), points=[point])
    lines = ["3", deep(100_000), "null", '{"phase": 1, "step": 1}', '{"phase": "a", "step": true}']
    lines += [
        '{"phase": "a", "step": "1"}',
        '{"phase": "a", "step": 1' + "0" * 400 + "}",
        '{"phase": "distil", "st',
    ]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n".join(lines))
    assert read_result(folder).points() == [point]


@pytest.mark.parametrize("kind", ["bytes", "folder"])
def test_curves_that_cannot_be_read_are_named(tmp_path: Path, kind: str) -> None:
    folder = build.write(tmp_path / "runs", good())
    file = folder / "metrics.jsonl"
    if kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\xff\xfe")
    warnings: list[str] = []
    assert read_result(folder).points(warnings.append) == []
    (line,) = warnings
    assert str(file) in line
