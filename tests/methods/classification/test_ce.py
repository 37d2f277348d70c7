"""Cross-entropy: the network of the ceilings, and what every training of a classifier can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import distill_bench
from distill_bench import training
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import ProtocolConfig, StudentConfig
from distill_bench.products import Classifier

RunCell = Callable[..., dict[str, Any]]
MLP = ("method=ce", "dataset=digits", "student=mlp16", "recipe=digits", "profile=fast")


def measure(result: dict[str, Any], name: str) -> float:
    """The only value of a measure."""
    (found,) = [m for m in result["measures"] if m["name"] == name]
    (value,) = found["values"]
    return float(value)


def product(result: dict[str, Any], roots: Path) -> Classifier:
    """The classifier of a run."""
    made: Classifier = distill_bench.load(roots / "products" / result["product"]["id"])
    return made


def test_the_network_of_seed_0_is_that_of_the_ceilings(
    run_cell: RunCell, context: Callable[..., Context], tmp_path: Path
) -> None:
    result = run_cell("method=ce", "dataset=digits", "student=convnet", "profile=smoke")
    ctx = context("method=random", "dataset=digits", "student=convnet", "profile=smoke", "ipc=1")
    groups = (ctx.group(StudentConfig), ctx.group(ProtocolConfig))
    ceiling = training.full_data_networks(ctx, ctx.dataset, *groups)
    own = product(result, tmp_path).backbone.state_dict()
    assert all(torch.equal(own[name], value.cpu()) for name, value in ceiling.weights[0].items())
    assert measure(result, "accuracy") == pytest.approx(ceiling.accuracies[0])


def test_it_learns_and_random_labels_teach_nothing(run_cell: RunCell) -> None:
    assert measure(run_cell(*MLP), "accuracy") > 80
    assert measure(run_cell(*MLP, "dataset.shuffled_labels=true"), "accuracy") < 25


def test_curves_are_asked_for_and_change_no_weights(run_cell: RunCell, tmp_path: Path) -> None:
    plain, watched = (product(run_cell(*MLP, *more), tmp_path) for more in ((), ("method.curves=true",)))
    assert set(plain.curves) == {"loss"} and set(watched.curves) == {"loss", "error", "cmi", "ncmi"}
    pairs = zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert watched.curves["error"][-1] < watched.curves["error"][0]


def test_weights_are_chosen_on_images_that_are_held_out_of_the_training(
    run_cell: RunCell, tmp_path: Path
) -> None:
    words = (*MLP, "method.held_out=20", "method.select=held_out")
    kept = product(run_cell(*words), tmp_path)
    errors = kept.curves["error"]
    assert kept.record["kept_epoch"] == 1 + errors.index(min(errors))
    assert kept.record["images"] == 1200 - 10 * 20
    with pytest.raises(
        UserError, match=r"method\.select=held_out: must be last, or method\.held_out above 0"
    ):
        run_cell(*MLP, "method.select=held_out")
    with pytest.raises(UserError, match=r"method\.held_out=117: must be from 0 to 116"):
        run_cell(*MLP, "method.held_out=117")


def test_an_attack_of_size_0_is_the_clean_accuracy_and_flags_add_up(
    run_cell: RunCell, tmp_path: Path
) -> None:
    none = run_cell(*MLP, "attack=pgd10", "attack.eps=0")
    assert measure(none, "robust_accuracy") == pytest.approx(measure(none, "accuracy"))
    some = run_cell(*MLP, "attack=fgsm")
    flags = pd.read_parquet(tmp_path / "runs" / some["run_id"] / "attacked.parquet")
    assert 100 * flags["robust"].mean() == pytest.approx(measure(some, "robust_accuracy"))
    assert 100 * flags["clean"].mean() == pytest.approx(measure(some, "accuracy"))
    assert measure(some, "robust_accuracy") < measure(some, "accuracy")


def test_a_share_of_the_training_images_is_one_of_each_class(context: Callable[..., Context]) -> None:
    from distill_bench import classification
    from distill_bench.groups import TrainsetConfig

    data = context("method=random", "dataset=digits", "ipc=1", "profile=smoke").dataset
    some = classification.training_images(data, TrainsetConfig(fraction=0.2), [])
    counts = data.train.labels.bincount()
    assert torch.equal(some.labels.bincount(), (0.2 * counts).round().long())
    again = classification.training_images(data, TrainsetConfig(fraction=0.2), [])
    assert torch.equal(some.fetch(torch.arange(9)), again.fetch(torch.arange(9)))
