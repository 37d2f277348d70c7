"""Cross-entropy: the ceiling of dataset distillation by its own recipe, and nothing without true labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from distill_bench import training
from distill_bench.context import Context
from distill_bench.groups import ProtocolConfig, StudentConfig
from distill_bench.methods.classification import ce
from distill_bench.planning import Plan

RunCell = Callable[..., dict[str, Any]]
SMALL = ("dataset=digits", "student.width=8")


def test_with_the_recipe_of_the_ceilings_it_is_the_ceiling(context: Callable[..., Context]) -> None:
    """Bit for bit: the weights, and so the accuracy."""
    ours = ce.run(context("method=ce", *SMALL, "recipe=full_data", "recipe.steps=12"), ce.Config())
    asker = context("method=random", "ipc=1", *SMALL, "protocol=dc", "protocol.full_steps=12")
    ceiling = training.full_data_networks(
        asker, asker.dataset, asker.group(StudentConfig), asker.group(ProtocolConfig)
    )
    weights = ours.backbone.state_dict()
    assert weights.keys() == ceiling.weights[0].keys()
    assert all(torch.equal(weights[name], value) for name, value in ceiling.weights[0].items())
    network = training.Students([ours.backbone])
    assert training.accuracies(network, asker.dataset.test) == ceiling.accuracies


def test_the_default_recipe_is_that_of_the_ceilings(plan: Callable[..., Plan]) -> None:
    default = plan("method=ce", "dataset=digits").product
    assert default.product_id == plan("method=ce", "dataset=digits", "recipe=full_data").product.product_id


def accuracy(result: dict[str, Any]) -> float:
    (value,) = next(m["values"] for m in result["measures"] if m["name"] == "accuracy")
    return float(value)


def test_it_learns_the_digits_and_nothing_from_shuffled_labels(run_cell: RunCell) -> None:
    words = ("method=ce", "dataset=digits", "student=mlp16", "recipe=digits", "recipe.epochs=10")
    assert accuracy(run_cell(*words)) > 85
    assert accuracy(run_cell(*words, "dataset.shuffled_labels=true")) < 25  # chance: 10


def test_the_record_says_how_many_images_and_epochs(context: Callable[..., Context]) -> None:
    words = ("method=ce", "dataset=digits", "student=mlp16", "recipe=digits", "recipe.epochs=2")
    product = ce.run(context(*words, "trainset.fraction=0.1"), ce.Config())
    assert product.record == {"kept_epoch": 2, "recipe": "digits", "images": 120}
    assert len(product.curves["loss"]) == 2
