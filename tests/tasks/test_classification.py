"""Classification: what is measured, what is kept, and that nothing is chosen on test images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import distill_bench
from distill_bench.classification import Select, training_images
from distill_bench.classification.trainset import some_of_each_class
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import TrainsetConfig
from distill_bench.interrupt import Interrupt, Interrupted
from distill_bench.methods.classification import ce, label_smoothing
from distill_bench.products import Classifier
from distill_bench.runner import execute
from distill_bench.running import Run
from distill_bench.seeding import generator
from tests.conftest import make_plan

RunCell = Callable[..., dict[str, Any]]
Contexts = Callable[..., Context]
WORDS = ("dataset=digits", "student=mlp16", "recipe=digits", "recipe.epochs=6")
NAMES = {
    *("accuracy", "negative_log_likelihood", "brier", "ece", "cmi", "separation", "ncmi", "class_cmi"),
}


def values(result: dict[str, Any], name: str) -> list[float]:
    return [value for m in result["measures"] if m["name"] == name for value in m["values"]]


def weights(made: Classifier) -> Tensor:
    return torch.cat([value.flatten() for value in made.backbone.state_dict().values()])


@pytest.mark.parametrize("attack", ["none", "pgd10"])
def test_the_measures_are_there_and_robust_accuracy_only_under_an_attack(
    attack: str, run_cell: RunCell
) -> None:
    result = run_cell("method=ce", *WORDS, f"attack={attack}")
    names = {measure["name"] for measure in result["measures"]}
    assert names == (NAMES if attack == "none" else NAMES | {"robust_accuracy"})
    assert len(values(result, "class_cmi")) == 10 and len(values(result, "accuracy")) == 1
    assert "top5_accuracy" not in names  # of ten classes it says little


def test_an_attack_of_radius_zero_gives_the_clean_accuracy(run_cell: RunCell) -> None:
    clean = run_cell("method=ce", *WORDS, "attack=pgd10", "attack.eps=0")
    assert values(clean, "robust_accuracy") == values(clean, "accuracy")


def test_the_flags_of_the_images_add_up_to_the_measures(run_cell: RunCell, tmp_path: Path) -> None:
    result = run_cell("method=ce", *WORDS, "attack=fgsm", "attack.eps=0.1")
    frame = pd.read_parquet(tmp_path / "runs" / result["run_id"] / "attacked.parquet")
    assert list(frame["index"]) == list(range(597))
    assert values(result, "accuracy") == [pytest.approx(100 * frame.clean.mean())]
    (robust,) = values(result, "robust_accuracy")
    assert robust == pytest.approx(100 * frame.robust.mean()) and robust < 100 * frame.clean.mean() - 10
    assert not (frame.robust & ~frame.clean).any()


def test_the_kept_epoch_is_the_best_on_held_out_images(context: Contexts) -> None:
    ctx = context("method=ce", *WORDS, "method.held_out=20", "method.select=held_out")
    config = ce.Config(held_out=20, select=Select.held_out)
    made, train = ce.run(ctx, config), ctx.dataset.train
    errors = made.curves["error"]
    assert len(errors) == 6 and made.record["images"] == 1200 - 200
    assert errors[made.record["kept_epoch"] - 1] == min(errors) < errors[0]
    held = some_of_each_class(train.labels, torch.full((10,), 20), generator(0, "held out"))
    assert train.labels[held].bincount().tolist() == [20] * 10
    wrong = (made(train.unit(held)).argmax(1) != train.labels[held]).float().mean()
    assert float(100 * wrong) == pytest.approx(min(errors))


def test_held_out_images_are_not_trained_on(context: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they show, the last epoch's network is the same."""
    plain = ce.run(context("method=ce", *WORDS, "method.held_out=20"), ce.Config(held_out=20))
    ctx = context("method=label_smoothing", *WORDS, "method.held_out=20", "method.smoothing=0")
    train = ctx.dataset.train
    held = some_of_each_class(train.labels, torch.full((10,), 20), generator(0, "held out"))
    fetch = type(train).images

    def dark(split: Any, indices: Tensor) -> Tensor:
        images = fetch(split, indices).clone()
        images[torch.isin(indices, held)] = torch.nan
        return images

    monkeypatch.setattr(type(train), "images", dark)
    dimmed = label_smoothing.run(ctx, label_smoothing.Config(held_out=20, smoothing=0))
    assert torch.equal(weights(dimmed), weights(plain))


def test_nothing_is_chosen_on_test_images(context: Contexts) -> None:
    """With other test labels the same weights are kept, of the same epoch."""

    def kept(*words: str, shuffled: bool) -> Classifier:
        ctx = context("method=ce", *WORDS, "method.held_out=20", "method.select=held_out", *words)
        if shuffled:
            ctx.dataset.test.labels.copy_(ctx.dataset.test.labels.roll(1))
        return ce.run(ctx, ce.Config(held_out=20, select=Select.held_out, curves=True))

    one, other = kept(shuffled=False), kept("method.curves=true", shuffled=True)
    assert torch.equal(weights(one), weights(other)) and one.record == other.record
    assert one.curves == other.curves


def test_a_selection_without_held_out_images_is_refused(context: Contexts) -> None:
    with pytest.raises(
        UserError, match=r"method\.select=held_out: must be last, or method\.held_out above 0"
    ):
        context("method=ce", *WORDS, "method.select=held_out")
    ctx = context("method=ce", *WORDS, "method.held_out=117")
    with pytest.raises(UserError, match=r"method\.held_out=117: must be from 0 to 116"):
        ce.run(ctx, ce.Config(held_out=117))


def test_curves_add_readings_and_change_no_weight(context: Contexts) -> None:
    plain = ce.run(context("method=ce", *WORDS), ce.Config())
    read = ce.run(context("method=ce", *WORDS, "method.curves=true"), ce.Config(curves=True))
    assert torch.equal(weights(read), weights(plain))
    assert set(plain.curves) == {"loss"} and set(read.curves) == {"loss", "error", "cmi", "ncmi"}
    assert all(len(curve) == 6 for curve in read.curves.values())
    assert read.curves["loss"] == plain.curves["loss"]
    assert read.curves["error"][-1] < read.curves["error"][0] and min(read.curves["ncmi"]) > 0


def test_the_last_reading_is_what_is_measured(run_cell: RunCell, tmp_path: Path) -> None:
    result = run_cell("method=ce", *WORDS, "method.curves=true")
    curves = distill_bench.load(tmp_path / "runs" / result["run_id"]).curves
    assert 100 - curves["error"][-1] == pytest.approx(values(result, "accuracy")[0])
    assert curves["cmi"][-1] == pytest.approx(values(result, "cmi")[0], rel=1e-4)
    assert curves["ncmi"][-1] == pytest.approx(values(result, "ncmi")[0], rel=1e-4)


@pytest.mark.parametrize("stop", [19, 50], ids=["before an epoch", "within an epoch"])
def test_an_interrupted_training_goes_on_to_the_same_bits_and_curves(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("method=ce", *WORDS, "method.curves=true", "method.held_out=20", "method.select=held_out")
    whole = execute(make_plan(*words, roots=tmp_path / "whole"), Interrupt())
    log = Run.log

    def stopping(run: Run, phase: str, step: int, **numbers: Any) -> None:
        log(run, phase, step, **numbers)
        run.interrupt.requested = phase == "train" and step == stop

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"{stop + 1}/"):
        patch.setattr(Run, "log", stopping)
        execute(make_plan(*words, roots=tmp_path / "halves"), Interrupt())
    halves = execute(make_plan(*words, roots=tmp_path / "halves"), Interrupt())
    assert halves["product"] == whole["product"]  # its digest among it, which the curves are part of
    assert halves["measures"] == whole["measures"]


@pytest.mark.parametrize("fraction", [0.2, 0.001])
def test_a_fraction_is_a_share_of_each_class_and_the_same_for_all_seeds(
    fraction: float, context: Contexts
) -> None:
    words = ("method=ce", *WORDS, f"trainset.fraction={fraction}")
    one, other = (context(*words, f"seed={seed}") for seed in range(2))
    sets = [training_images(ctx.dataset, ctx.group(TrainsetConfig), []) for ctx in (one, other)]
    counts = (fraction * one.dataset.train.class_counts).round().clamp_min(1)
    assert sets[0].labels.bincount().tolist() == counts.tolist()
    every = torch.arange(len(sets[0]))
    assert torch.equal(sets[0].fetch(every), sets[1].fetch(every))
    whole = one.dataset.train.images(torch.arange(1200)).flatten(1)
    found = (sets[0].fetch(every).flatten(1)[:, None] == whole[None]).all(2)
    assert found.any(1).all() and found.int().argmax(1).unique().numel() == len(every)
    labels = one.dataset.train.labels[found.int().argmax(1)]
    assert torch.equal(labels, sets[0].labels)


def test_a_network_that_cannot_be_built_is_refused_before_it_trains(run_cell: RunCell) -> None:
    with pytest.raises(UserError, match="depth"):
        run_cell("method=ce", "dataset=digits", "student=convnet", "student.depth=7", "recipe=digits")
