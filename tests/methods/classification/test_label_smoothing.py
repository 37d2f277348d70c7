"""Label smoothing: cross-entropy without it, less certain with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.methods.classification import ce, label_smoothing
from distill_bench.products import Classifier
from distill_bench.seeding import generator
from distill_bench.training import Batch, LabelSmoothing

Contexts = Callable[..., Context]
WORDS = ("dataset=digits", "student=mlp16", "recipe=digits", "recipe.epochs=6")


def trained(context: Contexts, smoothing: float) -> Classifier:
    made = context("method=label_smoothing", *WORDS, f"method.smoothing={smoothing}")
    return label_smoothing.run(made, label_smoothing.Config(smoothing=smoothing))


def certainty(classifier: Classifier, context: Contexts) -> float:
    """The mean of the largest probability on the test images."""
    test = context("method=ce", *WORDS).dataset.test
    pixels = test.unit(torch.arange(len(test)))
    return float(classifier(pixels).softmax(1).amax(1).mean())


def test_without_smoothing_it_is_cross_entropy_bit_for_bit(context: Contexts) -> None:
    plain = ce.run(context("method=ce", *WORDS), ce.Config()).backbone.state_dict()
    ours = trained(context, 0.0).backbone.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in plain.items())


def test_the_smoother_the_labels_the_less_certain_the_network(context: Contexts) -> None:
    sure, less, least = (certainty(trained(context, smoothing), context) for smoothing in (0.0, 0.1, 0.5))
    assert least < less - 0.1 < sure - 0.1


def loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    batch = Batch(torch.zeros(1, len(labels), 1, 1, 1), labels[None])
    return LabelSmoothing(smoothing)(logits, batch)


def test_the_loss_is_the_cross_entropy_with_the_smoothed_labels() -> None:
    logits = torch.randn(5, 4, generator=generator(0, "logits"), dtype=torch.double)
    labels, smoothing = torch.tensor([0, 3, 1, 1, 2]), 0.3
    targets = 0.7 * torch.eye(4, dtype=torch.double)[labels] + smoothing / 4
    torch.testing.assert_close(
        loss(logits, labels, smoothing), -(targets * logits.log_softmax(1)).sum(), rtol=1e-12, atol=0
    )
    assert loss(targets.log(), labels, smoothing) < loss(logits, labels, smoothing)
    torch.testing.assert_close(
        loss(targets.log(), labels, smoothing), -(targets * targets.log()).sum(), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_share_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(UserError, match=rf"method\.smoothing={smoothing}: must be in \[0, 1\)"):
        label_smoothing.Config(smoothing=smoothing)
