"""What one method makes, another learns from: every pair of the README, at the size of a smoke run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_bench.planning import Plan

RunCell = Callable[..., dict[str, Any]]
Planned = Callable[..., Plan]

SMALL = ("dataset=digits", "profile=smoke")
STUDENT = ("student=mlp", "student.width=16", "recipe=digits")
MLP = ("teacher=mlp", "teacher.width=16", "teacher.recipe=digits")
SOFT = ("protocol=rded_soft", "student=convnet")

CLASSIFIERS = ("method=ce", "method=label_smoothing", "method=kd")


def sized(*words: str) -> tuple[str, ...]:
    """The words of a small run, with two images of a class where there is a synthetic set."""
    classifier = words[0] in CLASSIFIERS and not any(word.startswith("trainset=") for word in words)
    given = any(word.startswith("trainset=") and "/" in word for word in words)
    return (*SMALL, *words) if classifier or given else (*SMALL, "ipc=2", *words)


PAIRS: dict[str, tuple[str, ...]] = {
    # a classifier teaches
    "ce -> kd": ("method=kd", *STUDENT, *MLP),
    "label_smoothing -> kd": ("method=kd", *STUDENT, *MLP, "teacher.method=label_smoothing"),
    "three of ce -> kd": ("method=kd", *STUDENT, *MLP, "teacher.count=3"),
    "ce on a third of the data -> kd": ("method=kd", *STUDENT, *MLP, "teacher.trainset={fraction: 0.3}"),
    "ce (convnet) -> kd (resnet8)": ("method=kd", "student=resnet8", "recipe=digits", "teacher=convnet"),
    # it labels for students of synthetic sets
    "ce -> rded_soft of dm": ("method=dm", *SOFT, "teacher=convnet"),
    "label_smoothing -> rded_soft of random": (
        "method=random",
        *SOFT,
        "teacher=resnet18",
        "teacher.method=label_smoothing",
        "teacher.trainset={fraction: 0.05}",  # an epoch of it all takes half a minute
    ),
    "mlp -> rded_soft of igds": ("method=igds", *SOFT, *MLP),
    # it scores and guides
    "ce -> difficulty of random": (
        "method=difficulty",
        "method.base=random",
        "method.scorer=teacher",
        *MLP,
    ),
    "label_smoothing -> difficulty of diffusion": (
        "method=difficulty",
        "method.scorer=teacher",
        *MLP,
        "teacher.method=label_smoothing",
    ),
    "ce -> igds": ("method=igds", "method.estimator=teacher", "teacher=convnet"),
    "label_smoothing -> igds": (
        "method=igds",
        "method.estimator=teacher",
        *MLP,
        "teacher.method=label_smoothing",
    ),
    "ce -> igds -> difficulty": (
        "method=difficulty",
        "method.base=igds",
        "method.base_settings.estimator=teacher",
        "method.scorer=teacher",
        *MLP,
    ),
    # a synthetic set is learned from
    "random -> ce": ("method=ce", *STUDENT, "trainset=random"),
    "herding -> ce": ("method=ce", *STUDENT, "trainset=herding"),
    "datadam -> ce, attacked": (
        "method=ce",
        *STUDENT,
        "trainset=datadam",
        "attack=fgsm",
        "attack.images=50",  # a setting of the measure: not one of the set's
    ),
    "mtt -> ce": ("method=ce", *STUDENT, "trainset=mtt"),
    "difficulty -> ce": ("method=ce", *STUDENT, "trainset=difficulty"),
    "dm -> label_smoothing": ("method=label_smoothing", *STUDENT, "trainset=dm"),
    "diffusion -> label_smoothing": ("method=label_smoothing", *STUDENT, "trainset=diffusion"),
    "ce and igds -> kd": ("method=kd", *STUDENT, "teacher=convnet", "trainset=igds"),
    "ce and datadam -> kd": ("method=kd", *STUDENT, *MLP, "trainset=datadam"),
    # whatever classifies is attacked
    "ce -> pgd20": ("method=ce", *STUDENT, "attack=pgd20"),
    "label_smoothing -> cw_inf": ("method=label_smoothing", *STUDENT, "attack=cw_inf"),
    "kd -> pgd10": ("method=kd", *STUDENT, *MLP, "attack=pgd10", "attack.eps=0.05"),
    "students of dm -> fgsm": ("method=dm", "attack=fgsm"),
    "students of random -> noise": ("method=random", "attack=noise"),
}


@pytest.mark.parametrize("words", PAIRS.values(), ids=PAIRS.keys())
def test_a_product_crosses_over(words: tuple[str, ...], run_cell: RunCell) -> None:
    result = run_cell(*sized(*words))
    assert result["status"] == "done"
    names = {measure["name"] for measure in result["measures"]}
    attacked = any(word.startswith("attack=") for word in words)
    assert ("robust_accuracy" in names) == attacked
    made_from = [*result["config"].get("made_from", []), *result["config"].get("measured_with", [])]
    crosses = any(word.startswith(("teacher=", "trainset=")) for word in words)
    assert bool(made_from) == crosses


def test_there_are_at_least_twenty_pairs() -> None:
    assert len(PAIRS) >= 20


GIVEN = {
    "kd": ("classifier", ("method=kd", *STUDENT), "teacher"),
    "rded_soft": ("classifier", ("method=random", *SOFT), "teacher"),
    "difficulty": (
        "classifier",
        ("method=difficulty", "method.base=random", "method.scorer=teacher"),
        "teacher",
    ),
    "igds": ("classifier", ("method=igds", "method.estimator=teacher"), "teacher"),
    "ce": ("synthetic_set", ("method=ce", *STUDENT), "trainset"),
    "kd of a set": ("synthetic_set", ("method=kd", *STUDENT, *MLP), "trainset"),
}


@pytest.mark.parametrize("place", ["run", "product", "file"])
@pytest.mark.parametrize("consumer", GIVEN)
def test_a_product_that_is_there_is_as_good(
    consumer: str, place: str, run_cell: RunCell, tmp_path: Path
) -> None:
    kind, words, group = GIVEN[consumer]
    source = ("method=ce", *STUDENT) if kind == "classifier" else ("method=random",)
    made = run_cell(*sized(*source), roots=tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "products" / made["product"]["id"]
    places = {
        "run": tmp_path / "elsewhere" / "runs" / made["run_id"],
        "product": folder,
        "file": folder / f"{kind}.safetensors",
    }
    result = run_cell(*sized(*words, f"{group}={places[place]}"))
    used = [*result["config"].get("made_from", []), *result["config"].get("measured_with", [])]
    assert f"{kind}:{made['product']['digest']}" in used


def test_a_teacher_is_made_once_for_all_seeds_and_for_all_who_ask(run_cell: RunCell, tmp_path: Path) -> None:
    for words in (
        ("method=kd", *STUDENT, *MLP, "seed=0"),
        ("method=kd", *STUDENT, *MLP, "seed=1"),
        ("method=random", *SOFT, *MLP),
        ("method=difficulty", "method.base=random", "method.scorer=teacher", *MLP),
        ("method=ce", "student=mlp", "student.width=16", "recipe=digits"),
    ):
        run_cell(*sized(*words))
    teachers = {path.name for path in (tmp_path / "products").glob("ce_*")}
    assert len(teachers) == 1


def test_an_attack_on_a_measured_product_makes_nothing_again(run_cell: RunCell, tmp_path: Path) -> None:
    plain = run_cell(*sized("method=datadam"))
    record = tmp_path / "products" / plain["product"]["id"] / "product.json"
    written = record.stat().st_mtime_ns
    attacked = run_cell(*sized("method=datadam", "attack=pgd20"))
    assert attacked["product"] == plain["product"] and attacked["run_id"] != plain["run_id"]
    assert record.stat().st_mtime_ns == written
    for result in (plain, attacked):
        result["accuracy"] = [m["values"] for m in result["measures"] if m["name"] == "accuracy"]
    assert attacked["accuracy"] == plain["accuracy"]


def test_a_soft_teacher_by_name_equals_the_protocols_own(run_cell: RunCell) -> None:
    words = ("method=random", *SOFT)
    own = run_cell(*sized(*words))
    named = run_cell(*sized(*words, "teacher=convnet", "teacher.method=ce", "teacher.recipe=full_data"))
    assert [m["values"] for m in named["measures"]] == [m["values"] for m in own["measures"]]
    other = run_cell(*sized(*words, "teacher=convnet", "teacher.method=label_smoothing"))
    assert other["run_id"] not in (own["run_id"], named["run_id"])


def test_the_same_set_serves_the_run_and_the_classifier(run_cell: RunCell) -> None:
    distilled = run_cell(*sized("method=dm"))
    learned = run_cell(*sized("method=ce", *STUDENT, "trainset=dm"))
    assert learned["config"]["made_from"] == [distilled["product"]["id"]]
