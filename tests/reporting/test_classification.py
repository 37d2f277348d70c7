"""Results of classifiers: many measures, of which people see those of all classes together."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distill_bench.reporting import (
    pivot,
    read_results,
    read_table,
    rows,
    show_result,
    write_report,
    write_table,
)
from distill_bench.reporting.axes import Axes, describe
from distill_bench.reporting.by_class import by_class, whole
from distill_bench.reporting.numbers import heading
from tests.reporting import build


def result(method: str, accuracy: float, seed: int = 0, classes: int = 10, **cell: Any) -> dict[str, Any]:
    """A classifier with an attack and with measures of its classes, of which 3 is lowest and 8 highest."""
    values = {"negative_log_likelihood": 0.31, "brier": 0.12, "ece": 0.04}
    values |= {"cmi": 0.17, "separation": 13.8, "ncmi": 0.0126}
    spread = [0.1 + 0.0001 * k for k in range(classes)]
    spread[3], spread[8] = 0.05, 0.7
    measures = [build.measure("accuracy", accuracy)]
    measures += [build.measure(name, value + seed / 100) for name, value in values.items()]
    measures += [build.measure("class_cmi", value, **{"class": str(k)}) for k, value in enumerate(spread)]
    measures += [build.measure("cmi", 0.2, attack="pgd20")]
    return build.content(method, build.classifier(**cell), measures, seed)


def shown(*contents: dict[str, Any], root: Path, width: int = 110) -> str:
    """The table of a sweep as a terminal shows it."""
    for content in contents:
        build.write(root, content)
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(pivot(read_results(root)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_is_headed_by_its_accuracy_and_shows_the_range_of_its_classes(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    show_result(result("ce", 96.6), tmp_path, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    measures = re.split("─+\n", text)[1].splitlines()
    assert measures[0].startswith("accuracy (%) ↑ ")
    (classes,) = [line for line in measures if "class cmi" in line]
    assert classes.split("  ")[0] == "class cmi (nat): 10 classes, lowest 3, highest 8"
    assert "0.05 to 0.7" in classes
    assert any(line.startswith("cmi under pgd20 (nat) ") for line in measures)
    assert text.count("digits · student=mlp") == 1


def test_what_learned_with_and_without_a_teacher_stands_in_one_column(tmp_path: Path) -> None:
    contents = [
        result(method, accuracy + width, student=f"mlp{width}", teacher=teacher)
        for method, teacher, accuracy in (("kd", "resnet20", 94.0), ("kd", "mlp", 93.0), ("ce", "none", 90.0))
        for width in (8, 16)
    ]
    lines = [line.split() for line in shown(*contents, root=tmp_path).splitlines() if line.strip()]
    assert lines[0][0] == "digits"
    assert ["method", "student=mlp8", "student=mlp16"] in lines
    first = [line for line in lines if line[0] in ("ce", "kd")][:3]
    assert first == [
        ["ce", "98.0", "106.0"],
        ["kd", "from", "mlp", "101.0", "109.0"],
        ["kd", "from", "resnet20", "102.0", "110.0"],
    ]


def test_classes_are_no_sections_of_a_table_and_an_attack_is_one(tmp_path: Path) -> None:
    text = shown(result("ce", 96.6), result("kd", 97.1, teacher="mlp"), root=tmp_path)
    assert "class cmi" not in text
    assert text.count("cmi under pgd20 (nat)") == 1


def test_the_training_set_is_a_column_where_it_differs(tmp_path: Path) -> None:
    text = shown(result("ce", 96.6), result("ce", 80.0, trainset="datadam"), root=tmp_path)
    head = next(line for line in text.splitlines() if line.startswith("method"))
    assert head.split()[1:] == ["trainset=full", "trainset=datadam"]


def test_files_keep_every_class_and_the_page_says_so(tmp_path: Path) -> None:
    for seed in (0, 1):
        build.write(tmp_path / "runs", result("ce", 96.6, seed))
    table = rows(read_results(tmp_path / "runs"))
    write_table(tmp_path / "table1", table, title="teachers")
    kept = read_table(tmp_path / "table1.csv")
    of_classes = [row for row in kept if row.metric == "class_cmi"]
    assert sorted(int(row.facets["class"]) for row in of_classes) == list(range(10))
    assert {row.count for row in of_classes} == {"2 × 1"}
    text = (tmp_path / "table1.md").read_text()
    assert "of single classes: class cmi; only in the csv file" in text
    assert "## class cmi" not in text and "## cmi under pgd20 (nat)" in text
    assert text.index("## accuracy (%) ↑") < text.index("## negative log likelihood (nat) ↓")
    assert "digits · student=mlp" in text


def test_the_report_shows_ranges_of_classes_and_a_headline(tmp_path: Path) -> None:
    build.write(tmp_path / "runs", result("kd", 97.1, teacher="mlp", classes=1000))
    page = write_report(tmp_path / "runs", tmp_path / "results", tmp_path / "report.html").read_text()
    assert page.count("class cmi") == 1
    assert "class cmi (nat): 1000 classes, lowest 3, highest 8" in page
    assert '<span class="push">accuracy 97.1 % (n = 1 × 1)</span>' in page
    assert "kd from mlp" in page


def test_rows_of_classes_and_of_all_together_are_all_rows(tmp_path: Path) -> None:
    contents = [result(method, 96.0, seed) for method in ("ce", "kd") for seed in (0, 1)]
    for content in contents:
        build.write(tmp_path, content)
    table = rows(read_results(tmp_path))
    folded = by_class(table)
    assert len(whole(table)) + sum(classes.count for classes in folded) == len(table)
    assert [(classes.lowest.method, classes.count) for classes in folded] == [("ce", 10), ("kd", 10)]
    for classes in folded:
        assert classes.lowest.mean == 0.05 and classes.highest.mean == 0.7


def test_the_size_of_a_classifiers_training_is_said(tmp_path: Path) -> None:
    content = result("ce", 96.6)
    content["config"] |= {"student": {"name": "mlp", "width": 64}, "recipe": {"epochs": 40}}
    build.write(tmp_path, content)
    assert {row.size for row in rows(read_results(tmp_path))} == {"mlp of width 64, E = 40"}


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ({"trainset": "full", "teacher": "none", "student": "mlp"}, "digits · student=mlp"),
        ({"trainset": "full", "teacher": "none", "student": "convnet"}, "digits · student=convnet"),
        (
            {"trainset": "igds", "teacher": "resnet20", "student": "mlp"},
            "digits · trainset=igds · teacher=resnet20 · student=mlp",
        ),
    ],
)
def test_a_full_training_set_and_no_teacher_go_without_saying(axes: Axes, text: str) -> None:
    assert describe({"dataset": "digits", **axes}) == text


def test_facets_have_words() -> None:
    assert heading("accuracy", {"attack": "pgd20"}) == "accuracy under pgd20 (%) ↑"
    assert heading("class_cmi", {"class": "cat"}) == "class cmi of cat (nat)"
    assert heading("cmi", {"by": "estimator", "attack": "fgsm"}) == "cmi under fgsm by=estimator (nat)"
