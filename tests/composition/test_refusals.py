"""Products that do not fit are refused in one line, before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_bench.errors import UserError
from distill_bench.planning import Plan, ProductPlan

RunCell = Callable[..., dict[str, Any]]
Planned = Callable[..., Plan]

SMALL = ("dataset=digits", "profile=smoke")
STUDENT = ("student=mlp", "student.width=16", "recipe=digits")


def made(run_cell: RunCell, root: Path, *words: str) -> Path:
    """The folder of a product made for a test."""
    result = run_cell(*SMALL, *words, roots=root)
    return root / "products" / str(result["product"]["id"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("method=kd", *STUDENT), "teacher=none: method=kd learns from one"),
        (("method=kd", *STUDENT, "teacher=given"), "teacher=given: nothing given"),
        (("method=ce", *STUDENT, "trainset=given"), "trainset=given: nothing given"),
        (("method=kd", *STUDENT, "teacher=no/such"), "no/such: there is no such product"),
        (("method=kd", *STUDENT, "teacher=mlp", "teacher.method=dm"), "a method that makes a classifier"),
        (("method=kd", *STUDENT, "teacher=mlp", "teacher.method=cee"), "method=cee: unknown method"),
        (("method=kd", *STUDENT, "teacher=mlp", "teacher.count=0"), "teacher.count=0: must be from 1"),
        (
            ("method=kd", *STUDENT, "teacher=mlp", "teacher.recipe=crd"),
            "teacher.recipe=crd: no such recipe; did you mean .crd_240",
        ),
        (
            ("method=kd", *STUDENT, "teacher=mlp", "teacher.source=x"),
            r"teacher.source: not used by teacher=mlp; it uses: count, .*, trainset, width$",
        ),
        (("method=ce", *STUDENT, "trainset.fraction=0"), r"trainset.fraction=0.0: must be in \(0, 1\]"),
        (
            ("method=ce", *STUDENT, "trainset=dm", "trainset.fraction=0.5"),
            "not used by trainset=dm; it uses: images_per_class, method",
        ),
        (("method=dm", "teacher=mlp"), "method=dm does not use teacher with these settings"),
        (("method=ce", *STUDENT, "teacher=mlp"), "method=ce does not use teacher"),
        (("method=dm", "trainset=random"), "method=dm does not use trainset"),
        (("method=difficulty", "teacher=mlp"), "does not use teacher with these settings"),
    ],
)
def test_what_does_not_fit_is_one_line(words: tuple[str, ...], message: str, plan: Planned) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(*SMALL, *words)
    assert "\n" not in str(caught.value)


def test_a_synthetic_set_does_not_teach_and_a_classifier_is_no_trainset(
    run_cell: RunCell, plan: Planned, tmp_path: Path
) -> None:
    images = made(run_cell, tmp_path / "other", "method=random")
    network = made(run_cell, tmp_path / "other", "method=ce", *STUDENT)
    with pytest.raises(UserError, match=r"^teacher=.*: holds a synthetic set; must be a classifier$"):
        plan(*SMALL, "method=kd", *STUDENT, f"teacher={images}")
    with pytest.raises(UserError, match=r"^trainset=.*: holds a classifier; must be a synthetic set$"):
        plan(*SMALL, "method=ce", *STUDENT, f"trainset={network}")


def test_a_teacher_of_other_images_is_refused(run_cell: RunCell, plan: Planned, tmp_path: Path) -> None:
    network = made(run_cell, tmp_path / "other", "method=ce", *STUDENT)
    words = ("method=kd", *STUDENT, f"teacher={network}", "profile=smoke")
    with pytest.raises(UserError, match=r"made for 1 channels, but dataset=cifar10 has 3"):
        plan(*words, "dataset=cifar10")
    with pytest.raises(UserError, match=r"made for 10 classes, but dataset=digits has 2"):
        plan(*words, "dataset=digits", "dataset.classes=[0,1]")
    with pytest.raises(UserError, match=r"made for 8 pixels a side, but dataset=digits has 16"):
        plan(*words, "dataset=digits", "dataset.resolution=16")


@pytest.mark.parametrize("damage", ["short", "other", "empty"])
def test_a_damaged_teacher_is_one_line(damage: str, run_cell: RunCell, plan: Planned, tmp_path: Path) -> None:
    file = made(run_cell, tmp_path / "other", "method=ce", *STUDENT) / "classifier.safetensors"
    copy = tmp_path / "copy.safetensors"
    content = file.read_bytes()
    copy.write_bytes({"short": content[:100], "other": b"not a product" * 99, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"^teacher=.*copy\.safetensors.*not a whole file") as caught:
        plan(*SMALL, "method=kd", *STUDENT, f"teacher={copy}")
    assert "\n" not in str(caught.value)


def test_a_value_given_by_hand_reaches_what_a_run_is_made_from_even_if_it_is_the_default(
    plan: Planned,
) -> None:
    words = ("method=ce", "trainset=datadam", "dataset=cifar10", "student=mlp")  # the set is whitened
    usual, plain = plan(*words), plan(*words, "dataset.zca=false", "recipe.steps=12000")
    sets = [run.product.parts[0][1] for run in (usual, plain)]
    whitened = [each.groups["dataset"].zca for each in sets if isinstance(each, ProductPlan)]
    assert whitened == [True, False]
    assert usual.product.product_id != plain.product.product_id
    assert "dataset.zca" not in usual.settings and plain.settings["dataset.zca"] is False
    assert "recipe.steps" not in plain.settings  # the default, and of no part
    assert plan(*words, "dataset.resolution=32").settings == usual.settings  # the default of both
