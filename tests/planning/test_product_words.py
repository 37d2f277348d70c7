"""The words teacher= and trainset=: options, paths, and what follows for identities and tables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_bench.errors import UserError
from distill_bench.groups import TeacherConfig, TrainsetConfig
from distill_bench.overrides import check_choices, given_products, plain_words
from distill_bench.planning import Plan, ProductPlan, compose, given_values

Planned = Callable[..., Plan]
RunCell = Callable[..., dict[str, Any]]
KD = ("method=kd", "dataset=digits", "student=mlp16", "recipe=digits")


def teachers(plan: Plan) -> list[ProductPlan]:
    parts = [part for _, part in plan.product.parts]
    assert all(isinstance(part, ProductPlan) for part in parts)
    return [part for part in parts if isinstance(part, ProductPlan)]


@pytest.mark.parametrize("group", ["teacher", "trainset"])
@pytest.mark.parametrize("place", ["runs/x", "/a/b", "~/c", "./d", "net.safetensors"])
def test_what_looks_like_a_path_is_one(group: str, place: str) -> None:
    assert given_products([f"{group}={place}"]) == [f"{group}=given", f"{group}.source='{place}'"]


def test_what_lies_there_is_a_path_unless_it_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "mlp"):
        Path(name).mkdir()
    assert given_products(["teacher=mine"]) == ["teacher=given", "teacher.source='mine'"]
    assert given_products(["teacher=theirs"]) == ["teacher=theirs"]
    assert given_products(["teacher=mlp"]) == ["teacher=mlp"]


@pytest.mark.parametrize(
    "word",
    ["teacher=mlp", "teacher=mlp,convnet", "teacher=given", "trainset=dm,full", "teacher.source=a/b", "-m"],
)
def test_other_words_stay_as_they_are(word: str) -> None:
    assert given_products([word, "student=mlp"]) == [word, "student=mlp"]


AWKWARD = [
    "runs/a b",
    "runs/it's",
    'runs/"x"',
    "runs/a=b",
    "runs/é",
    "runs/a{b}",
    "runs/[1]",
    "runs/$x",
    "r/a:b",
]


@pytest.mark.parametrize("place", AWKWARD)
def test_a_path_reaches_the_config_as_it_was_given(place: str) -> None:
    words = plain_words(["method=kd", f"teacher={place}"])
    assert compose(words).config.teacher.source == place
    assert given_values(words)["teacher.source"] == place


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("teacher='runs/a,b'", "runs/a,b"),
        ('teacher="runs/a b"', "runs/a b"),
        (r"teacher='r/it\'s'", "r/it's"),
    ],
)
def test_a_quoted_path_is_what_stands_between_the_quotes(word: str, place: str) -> None:
    assert compose(plain_words(["method=kd", word])).config.teacher.source == place


def test_a_list_of_paths_is_a_sweep_over_them() -> None:
    words = ["teacher=given", "teacher.source='a/x','b/y z'"]
    assert given_products(["teacher=a/x,b/y z"]) == words
    assert given_products(["teacher='a/x',\"b/y z\""]) == words


def test_options_and_paths_are_not_mixed() -> None:
    with pytest.raises(UserError, match=r"teacher=runs/x: no such teacher") as error:
        check_choices(["-m", *plain_words(["teacher=mlp,runs/x"])])
    assert "\n" not in str(error.value)


def test_a_sweep_over_paths_is_a_run_for_each(
    command: Callable[..., subprocess.CompletedProcess[str]], run_cell: RunCell, tmp_path: Path
) -> None:
    small = ("dataset=digits", "student=mlp", "recipe=digits", "profile=smoke")
    made = [run_cell("method=ce", *small, f"seed={seed}")["product"] for seed in range(2)]
    files = [str(tmp_path / "products" / product["id"] / "classifier.safetensors") for product in made]
    done = command("-m", "method=kd", *small, f"teacher={','.join(files)}", f"tables_root={tmp_path}")
    assert done.returncode == 0, done.stderr
    results = [json.loads(file.read_text()) for file in tmp_path.glob("runs/kd_*/result.json")]
    used = {result["axes"]["teacher"]: result["config"]["made_from"] for result in results}
    assert used == {product["id"]: [f"classifier:{product['digest']}"] for product in made}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("runs/kd_x_0.5_seed0_ab", "kd_x_0.5_seed0_ab"),
        ("products/ce_y_1.5_seed0_cd/classifier.safetensors", "ce_y_1.5_seed0_cd"),
        ("mine.safetensors", "mine"),
        ("classifier.safetensors", "classifier"),
    ],
)
def test_tables_show_the_name_of_what_was_given(source: str, name: str) -> None:
    assert TeacherConfig(name="given", source=source).label("given") == {"teacher": name}
    assert TrainsetConfig(name="given", source=source).label("given") == {"trainset": name}


def test_settings_show_what_differs_and_no_more(plan: Planned) -> None:
    assert plan(*KD, "teacher=mlp").settings == {"recipe": "digits"}
    changed = plan(*KD, "teacher=mlp", "teacher.count=2", "teacher.trainset={fraction: 0.2}", "seed=3")
    shown = {"recipe": "digits", "teacher.count": 2, "teacher.trainset": {"fraction": 0.2}}
    assert changed.settings == shown
    smooth = plan(*KD, "teacher=mlp", "teacher.method=label_smoothing", "teacher.settings.smoothing=0.2")
    assert smooth.settings["teacher.settings"] == {"smoothing": 0.2}
    assert (smooth.axes["teacher"], changed.axes["teacher"]) == ("mlp (label_smoothing)", "mlp")
    (teacher,) = teachers(smooth)
    assert (teacher.name, teacher.config.smoothing) == ("label_smoothing", 0.2)


def test_a_given_product_is_known_by_its_content_and_not_by_its_place(
    plan: Planned, run_cell: RunCell, tmp_path: Path
) -> None:
    words = ("dataset=digits", "student=mlp", "recipe=digits", "profile=smoke")
    made = run_cell("method=ce", *words, roots=tmp_path / "one")["product"]
    first = plan("method=kd", *words, f"teacher={tmp_path / 'one' / 'products' / made['id']}")
    (tmp_path / "one").rename(tmp_path / "two")
    second = plan("method=kd", *words, f"teacher={tmp_path / 'two' / 'products' / made['id']}")
    assert second.product.product_id == first.product.product_id
    assert not any(str(tmp_path) in str(value) for value in second.settings.values())


def test_a_teacher_is_shared_over_the_seeds_of_its_students(plan: Planned) -> None:
    zero, one = (plan(*KD, "teacher=mlp", f"seed={seed}") for seed in range(2))
    assert zero.product.product_id != one.product.product_id and zero.cell_id == one.cell_id
    assert teachers(zero)[0].product_id == teachers(one)[0].product_id
    other = plan(*KD, "teacher=mlp", "teacher.seed=1")
    both = plan(*KD, "teacher=mlp", "teacher.count=2")
    ids = [teacher.product_id for teacher in teachers(both)]
    assert ids == [teachers(zero)[0].product_id, teachers(other)[0].product_id]
    assert len({zero.cell_id, other.cell_id, both.cell_id}) == 3


def test_a_teacher_is_the_product_of_a_run_of_its_own(plan: Planned) -> None:
    own = plan("method=ce", "dataset=digits", "student=mlp", "recipe=digits").product
    taught = plan(*KD, "teacher=mlp", "trainset.fraction=0.5", "student.depth=3", "method.temperature=2")
    assert teachers(taught)[0].product_id == own.product_id
    share = plan(
        "method=ce", "dataset=digits", "student=mlp", "recipe=digits", "trainset.fraction=0.2"
    ).product
    taught = plan(*KD, "teacher=mlp", "teacher.trainset.fraction=0.2")
    assert teachers(taught)[0].product_id == share.product_id


def test_a_teacher_trains_by_its_own_recipe_or_by_the_askers(plan: Planned) -> None:
    (asked,) = teachers(plan(*KD, "teacher=mlp", "recipe.epochs=9"))
    assert (asked.groups["recipe"].name, asked.groups["recipe"].epochs) == ("digits", 9)
    (own,) = teachers(plan(*KD, "teacher=mlp", "recipe.epochs=9", "teacher.recipe=crd_240"))
    assert (own.groups["recipe"].name, own.groups["recipe"].epochs) == ("crd_240", 240)
    measured = plan("method=random", "dataset=digits", "protocol=rded_soft", "teacher=mlp")
    ((_, labels),) = measured.parts
    assert isinstance(labels, ProductPlan) and labels.groups["recipe"].name == "full_data"


def test_a_training_set_is_the_product_of_a_run_of_its_own(plan: Planned) -> None:
    own = plan("method=dm", "dataset=digits", "ipc=2").product
    learned = plan("method=ce", "dataset=digits", "student=mlp", "trainset=dm", "trainset.images_per_class=2")
    ((_, images),) = learned.product.parts
    assert images.product_id == own.product_id
    assert learned.axes["trainset"] == "dm-2"


def test_a_profile_bounds_the_teacher_as_it_does_the_student(plan: Planned) -> None:
    (teacher,) = teachers(plan(*KD, "teacher=convnet", "profile=smoke"))
    assert (teacher.groups["student"].width, teacher.groups["recipe"].steps) == (8, 0)
    (teacher,) = teachers(plan(*KD, "teacher=convnet", "teacher.width=64", "profile=smoke"))
    assert (teacher.groups["student"].width, teacher.groups["recipe"].epochs) == (64, 2)
