"""Brier score and calibration error: their closed forms, and loops over samples and bins."""

from __future__ import annotations

import math

import pytest
import torch

from distill_bench.evaluation import CalibrationMeter
from distill_bench.evaluation.calibration import BINS


def read(logits: torch.Tensor, labels: torch.Tensor, size: int = 7) -> dict[str, float]:
    """The reading of a meter that sees `size` samples at a time."""
    meter = CalibrationMeter()
    for batch, answers in zip(logits.split(size), labels.split(size), strict=True):
        meter.update(batch, answers)
    return meter.compute()


def samples(count: int = 200, classes: int = 5, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(count, classes, generator=draws)
    return logits, torch.randint(classes, (count,), generator=draws)


@pytest.mark.parametrize("scale", [0.1, 2.0, 20.0])
def test_both_equal_loops_over_samples_and_bins(scale: float) -> None:
    logits, labels = samples(scale=scale)
    p = logits.double().softmax(1)
    brier = sum(
        (float(row[k]) - (k == y)) ** 2 for row, y in zip(p, labels.tolist(), strict=True) for k in range(5)
    )
    ece = 0.0
    for b in range(BINS):
        of_bin = [
            (float(row.max()), int(row.argmax()) == y)
            for row, y in zip(p, labels.tolist(), strict=True)
            if b / BINS < float(row.max()) <= (b + 1) / BINS
        ]
        if of_bin:
            confidence, accuracy = (sum(values) / len(of_bin) for values in zip(*of_bin, strict=True))
            ece += len(of_bin) / 200 * abs(accuracy - confidence)
    reading = read(logits, labels)
    assert reading["brier"] == pytest.approx(brier / 200, rel=1e-12)
    assert reading["ece"] == pytest.approx(ece, rel=1e-12)


def test_a_classifier_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    logits, labels = [], []
    for right in range(6, 11):  # of ten samples with one top probability, as many are right as it says
        p = torch.tensor([right / 10, 1 - right / 10], dtype=torch.float64).clamp_min(1e-300)
        logits += [p.log()] * 10
        labels += [0] * right + [1] * (10 - right)
    reading = read(torch.stack(logits), torch.tensor(labels))
    assert reading["ece"] == pytest.approx(0, abs=1e-12)
    assert reading["brier"] > 0.1


def test_sure_and_right_is_zero_and_sure_and_wrong_is_the_largest() -> None:
    labels = torch.arange(10) % 5
    sure = torch.nn.functional.one_hot(labels, 5) * 1000.0
    assert read(sure, labels) == {"brier": 0.0, "ece": 0.0}
    assert read(sure, (labels + 1) % 5) == pytest.approx({"brier": 2.0, "ece": 1.0})


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_a_constant_prediction_has_closed_forms(classes: int) -> None:
    labels = torch.arange(30) % classes  # balanced
    reading = read(torch.full((30, classes), 0.7), labels)
    assert reading["brier"] == pytest.approx(1 - 1 / classes)
    assert reading["ece"] == pytest.approx(0, abs=1e-12)  # it says 1/K, and is right once in K
    p = torch.tensor([0.9, *[0.1 / (classes - 1)] * (classes - 1)], dtype=torch.float64)
    assert read(p.log().expand(30, -1), labels)["ece"] == pytest.approx(0.9 - 1 / classes)


def test_opposite_errors_of_one_bin_cancel_and_those_of_two_bins_do_not() -> None:
    def two(first: float, second: float) -> float:
        """A wrong sample of the first top probability, and a right one of the second."""
        logits = torch.tensor([[first, 1 - first], [second, 1 - second]], dtype=torch.float64).log()
        return read(logits, torch.tensor([1, 0]))["ece"]

    assert two(0.94, 0.95) == pytest.approx(abs(1 - 0.94 - 0.95) / 2)
    assert two(0.72, 0.95) == pytest.approx((0.72 + 0.05) / 2)


def test_batches_and_order_change_nothing_but_rounding() -> None:
    logits, labels = samples()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    for other in (read(logits, labels, 1), read(logits[order], labels[order], 200)):
        assert other == pytest.approx(read(logits, labels), rel=1e-12)


def test_it_is_finite_at_the_largest_logits() -> None:
    logits = torch.tensor([[3e38, -3e38], [-3e38, 3e38]])
    assert all(math.isfinite(value) for value in read(logits, torch.tensor([0, 0])).values())


def test_without_samples_there_is_no_reading() -> None:
    with pytest.raises(ValueError, match="no sample"):
        CalibrationMeter().compute()
