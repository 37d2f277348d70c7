"""Laws of recipes: the rate of every step, epochs and steps, and what does not fit."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
import torch

from distill_bench import catalogue
from distill_bench.catalogue import group_options
from distill_bench.errors import UserError
from distill_bench.groups import Augmentation, Optimiser, ProtocolConfig, Recipe, RecipeConfig, Schedule
from distill_bench.overrides.keys import keys_of
from distill_bench.planning import compose, typed
from distill_bench.planning.capped import capped_nodes
from distill_bench.training.schedule import epochs_of, epochs_run, learning_rates, rate_of_step

PROFILES = pytest.mark.parametrize("profile", ["paper", "fast", "smoke"])


def option(name: str, profile: str = "paper", *words: str) -> RecipeConfig:
    """The recipe of this name, bounded by the profile."""
    config = compose([f"recipe={name}", f"profile={profile}", *words]).config
    found: RecipeConfig = typed(RecipeConfig, capped_nodes(config, ["recipe"], ())["recipe"], "recipe")
    return found


def rates(recipe: Recipe, count: int) -> list[float]:
    """Of all steps, for epochs of `count` steps."""
    rate = rate_of_step(recipe, recipe.epochs, count)
    return [rate(step) for step in range(epochs_run(recipe, recipe.epochs) * count)]


def test_crd_trains_at_five_hundredths_to_epoch_150_and_a_tenth_of_it_from_150_180_and_210_on() -> None:
    crd = option("crd_240")
    assert (crd.epochs, crd.batch_size, crd.momentum, crd.weight_decay) == (240, 64, 0.9, 5e-4)
    assert (crd.optimiser, crd.augmentation, crd.pad) == (Optimiser.sgd, Augmentation.pad_crop, 4)
    expected = [0.05] * 150 + [0.005] * 30 + [0.0005] * 30 + [0.00005] * 30
    assert learning_rates(crd, 240) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "turns", "factor"),
    [("cmic_200", [60, 120, 160], 0.2), ("madry_200", [100, 150], 0.1), ("imagenet_90", [30, 60], 0.1)],
)
def test_published_recipes_drop_where_their_papers_say(name: str, turns: list[int], factor: float) -> None:
    recipe = option(name)
    plain = learning_rates(recipe, recipe.epochs)
    assert len(plain) == int(name.split("_")[1])
    for epoch, rate in enumerate(plain):
        assert rate == pytest.approx(0.1 * factor ** sum(epoch >= turn for turn in turns), rel=1e-12)


def test_the_warm_up_of_cmic_rises_over_one_epoch_and_leaves_the_rest() -> None:
    cmic, count = option("cmic_200"), 390
    found = rates(cmic, count)
    assert found[:count] == pytest.approx([0.1 * (step + 1) / count for step in range(count)])
    assert found[count : 60 * count] == [0.1] * 59 * count


@pytest.mark.parametrize("total", [4, 7, 30, 200])
def test_one_cycle_is_torchs(total: int) -> None:
    recipe = Recipe(epochs=total, lr=0.3, schedule=Schedule.one_cycle)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.3, total_steps=total, cycle_momentum=False)
    theirs = []
    for _ in range(total):
        theirs.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step() if len(theirs) < total else None
    assert rates(recipe, 1) == pytest.approx(theirs, rel=1e-9)


def test_a_cosine_is_torchs_step_by_step() -> None:
    recipe = Recipe(epochs=5, lr=0.1, schedule=Schedule.cosine)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5 * 7)
    for rate in rates(recipe, 7):
        assert rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", list(Schedule), ids=lambda schedule: schedule.name)
def test_every_schedule_gives_each_step_a_rate_and_a_warm_up_its_share_of_it(schedule: Schedule) -> None:
    given: dict[str, Any] = {"epochs": 6, "lr": 0.2, "schedule": schedule}
    given |= {"milestones": [0.5, 0.8]} if schedule is Schedule.steps else {}
    plain, warm = rates(Recipe(**given), 10), rates(Recipe(**given, warmup=1.5), 10)
    assert len(plain) == (70 if schedule is Schedule.drop else 60)
    assert all(0 < rate <= 0.2 for rate in plain)
    for step, (rate, warmed) in enumerate(zip(plain, warm, strict=True)):
        assert warmed == pytest.approx(rate * min(1, (step + 1) / 15), rel=1e-12)


def test_a_constant_rate_stays() -> None:
    assert set(rates(Recipe(epochs=3, lr=0.2, schedule=Schedule.constant), 4)) == {0.2}


@PROFILES
@pytest.mark.parametrize("name", group_options("recipe"))
def test_every_recipe_fits_every_profile(name: str, profile: str) -> None:
    recipe = option(name, profile)
    epochs = epochs_of(recipe, 3)
    assert recipe.name == name
    assert len(learning_rates(recipe, epochs)) == epochs_run(recipe, epochs)
    assert all(math.isfinite(rate) and rate > 0 for rate in learning_rates(recipe, epochs))


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (9, 1), (14, 1), (16, 2), (100, 10)])
def test_steps_are_rounded_to_whole_epochs_and_come_before_epochs(steps: int, epochs: int) -> None:
    assert epochs_of(Recipe(steps=steps, epochs=77), 10) == epochs
    assert epochs_of(Recipe(epochs=77), 10) == 77


@PROFILES
def test_full_data_trains_as_the_ceilings_of_dataset_distillation(profile: str) -> None:
    recipe = option("full_data", profile)
    config = compose(["protocol=dc", f"profile={profile}"]).config
    dc: ProtocolConfig = typed(ProtocolConfig, capped_nodes(config, ["protocol"], ())["protocol"], "protocol")
    ceiling = dc.full_data()
    assert recipe.steps == ceiling.full_steps
    names = recipe.identity().keys() - {"name", "steps", "epochs"}
    assert names >= {"lr", "batch_size", "schedule", "augmentation", "momentum", "weight_decay"}
    assert {name: getattr(recipe, name) for name in names} == {name: getattr(ceiling, name) for name in names}


@pytest.mark.parametrize("name", group_options("protocol"))
def test_a_protocol_takes_its_training_from_a_recipe(name: str) -> None:
    composed = compose([f"protocol={name}"])
    recipe = compose([f"recipe={composed.choices['recipe@protocol']}"]).config.recipe
    names = {field.name for field in fields(Recipe)} - {"name"}
    assert set(recipe) == names | {"name"}
    names -= keys_of(catalogue.conf_dir() / "protocol" / f"{name}.yaml")  # what it changes
    assert {key: composed.config.protocol[key] for key in names} == {key: recipe[key] for key in names}


def steps(milestones: list[float], **more: Any) -> Recipe:
    return Recipe(schedule=Schedule.steps, milestones=milestones, **more)


@pytest.mark.parametrize(
    ("milestones", "line"),
    [
        ([150, 180, 210], r"^recipe.milestones=\[150, 180, 210\]: .*150 of 240 epochs is 0\.625\)$"),
        ([0.5, 0.5], r"in \(0, 1\), each above the one before$"),
        ([0.75, 0.5], r"in \(0, 1\), each above the one before$"),
        ([0.0, 0.5], r"in \(0, 1\), each above the one before$"),
        ([], r"in \(0, 1\), each above the one before$"),
        ([0.5, 0.501], r"they do not fit 240 epochs: they would begin epochs 120, 120$"),
        ([0.001], r"they do not fit 240 epochs: they would begin epochs 0$"),
        ([0.999], r"they do not fit 240 epochs: they would begin epochs 240$"),
    ],
)
def test_milestones_that_do_not_fit_are_one_line(milestones: list[float], line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        steps(milestones, epochs=240)
    assert "\n" not in str(caught.value)


def test_milestones_of_other_schedules_are_an_error() -> None:
    with pytest.raises(UserError, match=r"must be \[\] but for recipe.schedule=steps"):
        Recipe(schedule=Schedule.cosine, milestones=[0.5])
    assert (
        "milestones" not in RecipeConfig(schedule=Schedule.cosine, milestones=[]).unused()
    )  # as it asks for


def test_milestones_that_the_number_of_steps_leaves_no_epochs_for_are_an_error_when_they_are_known() -> None:
    recipe = steps([0.5, 0.55, 0.6], steps=50)
    with pytest.raises(UserError, match="do not fit 5 epochs"):
        learning_rates(recipe, epochs_of(recipe, 10))


@pytest.mark.parametrize(("epochs", "expected"), [(1, [1.0]), (2, [1.0, 1e-3]), (3, [1.0, 1.0, 1e-3])])
def test_drops_come_together_where_there_are_no_more_epochs_than_drops(
    epochs: int, expected: list[float]
) -> None:
    crd = steps([0.625, 0.75, 0.875], epochs=epochs, lr=1.0)
    assert learning_rates(crd, epochs) == pytest.approx(expected)


@pytest.mark.parametrize(
    "given",
    [
        {"lr": 0.0},
        {"epochs": 0},
        {"steps": -1},
        {"warmup": -1.0},
        {"pad": -1},
        {"clip": -0.1},
        {"ema": 1.0},
        {"rotation": 181.0},
        {"optimiser": Optimiser.nesterov, "momentum": 0.0},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_field_out_of_range_is_one_line_that_names_it(given: dict[str, Any]) -> None:
    key = list(given)[-1]
    with pytest.raises(UserError, match=rf"^recipe\.{key}=") as caught:
        Recipe(**given)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"^protocol\.{key}="):
        ProtocolConfig(**given)


def test_a_field_that_is_not_used_changes_no_identity() -> None:
    assert option("digits").identity() == option("digits", "paper", "recipe.pad=7").identity()
    assert option("crd_240").identity() != option("crd_240", "paper", "recipe.pad=3").identity()
