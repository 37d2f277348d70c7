"""The report: one file that needs no other, escapes what it shows, and has something kind to say to a
beginner."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_bench.reporting import Row, write_report, write_table
from distill_bench.reporting.report import shade
from tests.conftest import REPOSITORY
from tests.reporting import build


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(tmp_path: Path, *contents: dict[str, Any]) -> Page:
    for content in contents:
        build.write(tmp_path / "runs", content)
    out = write_report(tmp_path / "runs", tmp_path / "results", tmp_path / "report.html")
    return Page(out.read_text())


def accuracy(method: str, value: float, **more: Any) -> dict[str, Any]:
    return build.content(
        method, build.images(**more), [build.measure("accuracy", value, value + 2, student="convnet")]
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a realistic set of runs of both tasks."""
    folder = tmp_path_factory.mktemp("report")
    build.realistic(folder / "runs", seeds=2)
    return write_report(folder / "runs", folder / "results", folder / "report.html")


def test_nothing_is_loaded_from_elsewhere(full: Path) -> None:
    text = full.read_text()
    tags = Page(text).tags
    assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
    for tag, attributes in tags:
        assert tag not in ("link", "iframe", "object", "embed")
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), f"{tag} {name}"
    assert "url(" not in text
    assert "@import" not in text


def test_every_run_has_its_section_with_measures_config_and_command(full: Path) -> None:
    page = Page(full.read_text())
    folders = [folder.name for folder in (full.parent / "runs").iterdir()]
    assert sum(attributes.get("class") == "run" for _, attributes in page.tags) == len(folders)
    assert all(name in page.text for name in folders)
    for part in ("method.name: datadam", "python run.py method=datadam seed=1", build.CPU, "feedbeef"):
        assert part in page.text


def test_both_tasks_have_their_figures_and_products(full: Path) -> None:
    captions = [attributes.get("alt") for tag, attributes in Page(full.read_text()).tags if tag == "img"]
    assert "Accuracy against images per class" in captions
    assert "Error against components left" in captions
    assert sum((caption or "").startswith("product of") for caption in captions) >= 2 * 20


def test_the_file_stays_small(full: Path) -> None:
    assert full.stat().st_size < 6 * 2**20


def test_the_same_files_give_the_same_report(tmp_path: Path) -> None:
    content = accuracy("dm", 25.0)
    pixels = np.random.default_rng(0).random((10, 1, 3, 8, 8))
    build.add_picture(tmp_path / "runs", content, pixels, ["class"] * 10)
    build.write(tmp_path / "runs", content)
    outs = [
        write_report(tmp_path / "runs", tmp_path, tmp_path / name).read_bytes()
        for name in ("a.html", "b.html")
    ]
    assert outs[0] == outs[1]


def test_hostile_text_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    evil = "<script>alert(1)<&>\"'"
    content = accuracy("dm", 25.0)
    content |= {"run_id": "<img src=x onerror=alert(1)>", "method": evil, "summary": evil, "paper": evil}
    content["config"]["method"]["name"] = evil
    content["provenance"] |= {"command": evil, evil: evil, "device": evil}
    page = report(tmp_path, content)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(attributes.get("src") == "x" for tag, attributes in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(evil) >= 5
    assert "<img src=x onerror=alert(1)>" in page.text


def test_without_runs_it_says_how_to_make_one(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert "There are no finished runs" in page.text
    assert "python run.py" in page.text


def test_a_damaged_file_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    bad = tmp_path / "runs" / "broken_run"
    bad.mkdir(parents=True)
    (bad / "result.json").write_text("{")
    page = report(tmp_path, accuracy("dm", 25.0))
    assert "1 file could not be read" in page.text
    assert "broken_run" in page.text
    assert "26.0 ± 1.4" in page.text


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    content = accuracy("dm", 25.0)
    content["artifacts"] = {"picture": "synthetic.png"}
    (build.write(tmp_path / "runs", content) / "synthetic.png").write_bytes(b"not a picture")
    page = report(tmp_path)
    assert "26.0 ± 1.4" in page.text
    assert not any((attributes.get("alt") or "").startswith("product") for _, attributes in page.tags)


@pytest.mark.parametrize(
    ("metric", "ours", "paper", "colour"),
    [
        pytest.param("accuracy", 30.0, 26.0, "better-2", id="higher accuracy"),
        pytest.param("accuracy", 24.0, 26.0, "worse-1", id="lower accuracy"),
        pytest.param("accuracy", 10.0, 26.0, "worse-3", id="far lower accuracy"),
        pytest.param("accuracy", 26.5, 26.0, "even", id="within the noise"),
        pytest.param("ise", 0.5, 3.0, "better-3", id="lower error"),
        pytest.param("ise", 9.0, 3.0, "worse-3", id="higher error"),
    ],
)
def test_the_colour_of_a_gap_follows_the_direction_of_the_metric(
    metric: str, ours: float, paper: float, colour: str
) -> None:
    fixed: dict[str, Any] = {"method": "m", "axes": {"dataset": "s"}, "metric": metric, "profile": "paper"}
    row = Row(mean=ours, std=0.6, paper=paper, paper_std=0.8, **fixed)
    assert shade(row) == colour
    swapped = shade(Row(mean=paper, std=0.6, paper=ours, paper_std=0.8, **fixed))
    assert (swapped[:4], colour[:4]) in {("even", "even"), ("bett", "wors"), ("wors", "bett")}


def test_the_gap_to_the_paper_stands_in_the_table(tmp_path: Path) -> None:
    page = report(tmp_path, accuracy("dm", 29.0))
    assert any(attributes.get("class") == "gap better-2" for tag, attributes in page.tags if tag == "span")
    assert re.search(r"30\.0 ± 1\.4\s*\+4\.0\s*paper 26\.0 ± 0\.8", page.text)


def test_a_card_says_how_its_product_was_measured_and_the_mean_of_all_seeds(tmp_path: Path) -> None:
    cell = build.images(profile="fast", settings={"method.iterations": 67})
    for seed, value in ((0, 20.0), (1, 30.0)):
        measure = build.measure("accuracy", value, student="convnet")
        content = build.content("dsa", cell, [measure], seed)
        if seed == 0:
            build.add_picture(tmp_path / "runs", content, np.zeros((10, 1, 3, 8, 8)), ["class"] * 10)
        build.write(tmp_path / "runs", content)
    page = report(tmp_path)
    assert re.search(r"dsa · cifar10 · ipc 1\s*protocol dc · profile fast · iterations=67", page.text)
    assert "accuracy 25.0 ± 7.1 % (n = 2 × 1)" in page.text
    assert not any("gap better" in (attributes.get("class") or "") for _, attributes in page.tags)


def test_every_card_run_and_row_can_be_filtered_by_method_data_and_protocol(full: Path) -> None:
    page = Page(full.read_text())
    options = {attributes["name"]: attributes for tag, attributes in page.tags if tag == "select"}
    assert set(options) == {"method", "data"}  # one protocol alone needs no choice
    for kind in ("run", "shot"):
        marked = [attributes for _, attributes in page.tags if attributes.get("class") == kind]
        assert marked
        assert all({"data-method", "data-data", "data-protocol"} <= set(each) for each in marked)
    rows = [attributes for tag, attributes in page.tags if tag == "tr" and "data-method" in attributes]
    assert {"datadam", "full", "west"} <= {attributes["data-method"] for attributes in rows}
    cells = [attributes for tag, attributes in page.tags if tag == "td" and "data-value" in attributes]
    assert all(float(attributes["data-value"] or "x") > 0 for attributes in cells)  # what sorting goes by


def test_a_click_on_a_product_enlarges_a_picture_that_is_there(full: Path) -> None:
    tags = Page(full.read_text()).tags
    large = [attributes["data-large"] for _, attributes in tags if "data-large" in attributes]
    places = {attributes.get("id") for tag, attributes in tags if tag == "img"}
    assert large
    assert set(large) <= places
    anchors = {str(attributes["href"])[1:] for tag, attributes in tags if tag == "a"}
    assert anchors <= {attributes.get("id") for _, attributes in tags}


def test_published_tables_are_shown_and_marked(tmp_path: Path) -> None:
    fixed: dict[str, Any] = {"axes": {"dataset": "cifar10", "ipc": 1}, "metric": "accuracy", "seeds": 1}
    table = [Row(method="dm", mean=25.0, profile="fast", repeats=3, **fixed)]
    smoke = [Row(method="dc", mean=9.0, profile="smoke", repeats=3, **fixed)]
    write_table(tmp_path / "results" / "somewhere" / "table1", [*table, *smoke], title="")
    (tmp_path / "results" / "bad").mkdir()
    (tmp_path / "results" / "bad" / "table1.csv").write_text("hello")
    page = report(tmp_path, accuracy("random", 14.0))
    assert sum(attributes.get("class") == "published" for _, attributes in page.tags) == 1
    text = page.text[page.text.index("Published tables") :]
    assert "somewhere, table1" in text
    assert "25.0" in text
    assert "9.0" not in text
    assert "bad/table1.csv" in page.text


def test_a_smoke_run_says_so_beside_every_number_and_sizes_stand_with_it(tmp_path: Path) -> None:
    content = accuracy("dm", 12.0, profile="smoke")
    content["config"] |= {"student": {"name": "convnet", "width": 8}, "protocol": {"epochs": 4, "nets": 2}}
    build.add_picture(tmp_path / "runs", content, np.zeros((10, 1, 3, 8, 8)), ["class"] * 10)
    page = report(tmp_path, content)
    assert page.text.count("means nothing") == 2  # on the card and on the run
    assert page.text.count("these numbers mean nothing") == 1  # above the table
    assert page.text.count("convnet of width 8, E = 4, 2 networks a set") == 3


def test_diagnostics_are_folded_below_the_accuracies(tmp_path: Path) -> None:
    measures = [build.measure("cmi", 0.1, 0.2), build.measure("accuracy", 20.0, 22.0, student="convnet")]
    page = report(tmp_path, build.content("igds", build.images(), measures))
    folded = page.text[page.text.index("1 more measures") : page.text.index("Methods")]
    assert "cmi" in folded
    assert "accuracy" not in folded


def test_nothing_that_is_damaged_fails_the_report(tmp_path: Path) -> None:
    content = accuracy("dm", 25.0)
    folder = build.write(tmp_path / "runs", content)
    (folder / "metrics.jsonl").write_bytes(b"\xff\xfe")
    (tmp_path / "products" / content["product"]["id"] / "metrics.jsonl").mkdir(parents=True)
    (tmp_path / "runs" / "folder" / "result.json").mkdir(parents=True)
    (tmp_path / "runs" / "deep").mkdir()
    (tmp_path / "runs" / "deep" / "result.json").write_text("[" * 100_000 + "]" * 100_000)
    (tmp_path / "results" / "reference").mkdir(parents=True)
    (tmp_path / "results" / "reference" / "x.csv").write_bytes(b"\xff\xfe")
    page = report(tmp_path)
    assert "5 files could not be read" in page.text
    assert "26.0 ± 1.4" in page.text


def test_the_command_makes_the_report_without_loading_torch(tmp_path: Path) -> None:
    build.write(tmp_path / "runs", accuracy("dm", 25.0))
    words = ["scripts/report.py", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "r.html")]
    code = (
        f"import runpy, sys; sys.argv = {words!r}; runpy.run_path({words[0]!r}, run_name='__main__'); "
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "26.0 ± 1.4" in (tmp_path / "r.html").read_text()
    assert "report: " in done.stdout
