"""The streaming meter: equal to loops over samples and pairs, and to itself however the samples are split."""

from __future__ import annotations

import math

import pytest
import torch

from distill_bench.information import InformationMeter, Reading, centroids, cmi, divergence, separation

CLASSES = 4


def samples(count: int = 60, seed: int = 0, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits (N, K) and labels; the classes have unequal frequencies."""
    draws = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, CLASSES, generator=draws, dtype=torch.float64)
    return logits, (torch.arange(count) % 7) % CLASSES


def read(logits: torch.Tensor, labels: torch.Tensor, size: int = 7) -> Reading:
    """The reading of a meter that sees `size` samples at a time."""
    meter = InformationMeter(logits.shape[1])
    for batch, answers in zip(logits.split(size), labels.split(size), strict=True):
        meter.update(batch, answers)
    return meter.compute()


def numbers(reading: Reading) -> list[float]:
    return [
        reading.error,
        reading.cross_entropy,
        reading.cmi,
        reading.separation,
        reading.ncmi,
        *reading.class_cmi,
    ]


def close(one: Reading, other: Reading) -> bool:
    assert one.samples == other.samples
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-12, abs=1e-14, nan_ok=True)
    return True


def entropy(p: torch.Tensor) -> torch.Tensor:
    """Of distributions in the last axis."""
    return -torch.special.xlogy(p, p).sum(-1)


def test_one_pass_equals_loops_over_classes_and_pairs() -> None:
    logits, labels = samples()
    p, reading = logits.softmax(1), read(logits, labels)
    for y in range(CLASSES):
        own = p[labels == y]
        centre = own.mean(0)
        spread = sum(float((row * (row / centre).log()).sum()) for row in own) / len(own)
        assert reading.class_cmi[y] == pytest.approx(spread, abs=1e-14)
    pairs = sum(-float(p[i] @ p[j].log()) for i in range(60) for j in range(60) if labels[i] != labels[j]) / (
        60**2
    )
    assert reading.separation == pytest.approx(pairs, rel=1e-12)
    assert reading.cross_entropy == pytest.approx(
        -sum(math.log(float(p[i, y])) for i, y in enumerate(labels.tolist())) / 60
    )
    assert reading.error == sum(int(p[i].argmax()) != y for i, y in enumerate(labels.tolist())) / 60
    assert reading.ncmi == reading.cmi / reading.separation


def test_it_agrees_with_the_measures_of_a_whole_set() -> None:
    logits, labels = samples()
    log_q, reading = logits.log_softmax(1), read(logits, labels)
    assert reading.cmi == pytest.approx(float(cmi(log_q, labels)), abs=1e-14)
    assert reading.separation == pytest.approx(float(separation(log_q, labels)), rel=1e-12)


def test_cmi_is_an_entropy_difference_within_its_bounds() -> None:
    logits, labels = samples(scale=6.0)
    p, reading = logits.softmax(1), read(logits, labels)
    of_centroids = float(entropy(centroids(p.log(), labels))[labels].mean())
    assert reading.cmi == pytest.approx(of_centroids - float(entropy(p).mean()), abs=1e-14)
    assert 0 < reading.cmi <= of_centroids <= math.log(CLASSES)


def test_cmi_is_zero_exactly_where_the_predictions_of_a_label_are_equal() -> None:
    logits, labels = samples()
    equal = logits[:CLASSES][labels]
    reading = read(equal, labels)
    assert reading.cmi == pytest.approx(0, abs=1e-15) and reading.ncmi == pytest.approx(0, abs=1e-15)
    equal[-1] = logits[-1]
    other = read(equal, labels)
    assert other.cmi > 1e-4 and other.class_cmi[int(labels[-1])] > 1e-4


def test_one_sample_a_class_carries_nothing() -> None:
    reading = read(samples(CLASSES)[0], torch.arange(CLASSES))
    assert [reading.cmi, *reading.class_cmi] == pytest.approx([0] * (CLASSES + 1), abs=1e-15)
    assert reading.separation > 0


def test_another_centroid_adds_its_own_divergence_so_that_no_step_of_them_is_worse() -> None:
    logits, labels = samples()
    log_q, reading = logits.log_softmax(1), read(logits, labels)
    own, other = centroids(log_q, labels), samples(seed=3)[0][:CLASSES].softmax(1)
    excess = float((own * (own / other).log()).sum(1)[labels].mean())
    against = float(divergence(log_q, other[labels]).mean())
    assert against == pytest.approx(reading.cmi + excess, abs=1e-13)
    assert excess > 0.01


def test_uniform_predictions_have_closed_forms() -> None:
    _, labels = samples()
    reading = read(torch.full((60, CLASSES), 3.0), labels)
    shares = labels.bincount() / 60
    assert reading.cmi == pytest.approx(0, abs=1e-15)
    assert reading.separation == pytest.approx((1 - float(shares.square().sum())) * math.log(CLASSES))
    assert reading.cross_entropy == pytest.approx(math.log(CLASSES))


@pytest.mark.parametrize("size", [1, 13, 60])
def test_the_size_of_batches_changes_nothing_but_rounding(size: int) -> None:
    logits, labels = samples()
    assert close(read(logits, labels, size), read(logits, labels, 7))


def test_merged_halves_are_the_whole_in_either_order() -> None:
    logits, labels = samples()
    for first, second in ((slice(0, 25), slice(25, 60)), (slice(25, 60), slice(0, 25))):
        one, other = InformationMeter(CLASSES), InformationMeter(CLASSES)
        one.update(logits[first], labels[first])
        other.update(logits[second], labels[second])
        one.merge(other)
        assert close(one.compute(), read(logits, labels))


def test_a_shift_of_each_samples_logits_and_their_order_change_nothing() -> None:
    logits, labels = samples()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert close(read(logits + torch.arange(60.0)[:, None], labels), read(logits, labels))
    assert close(read(logits[order], labels[order]), read(logits, labels))


def test_new_names_of_the_classes_permute_their_own_values_alone() -> None:
    logits, labels = samples()
    names = torch.tensor([2, 0, 3, 1])  # class y is called names[y]
    renamed = torch.empty_like(logits)
    renamed[:, names] = logits
    before, after = read(logits, labels), read(renamed, names[labels])
    assert [after.class_cmi[name] for name in names.tolist()] == pytest.approx(before.class_cmi, abs=1e-14)
    assert numbers(after)[:5] == pytest.approx(numbers(before)[:5], rel=1e-12)


def test_flat_predictions_have_the_cmi_of_their_logits_spread() -> None:
    logits, labels = samples()
    centred = logits - logits.mean(1, keepdim=True)
    means = torch.stack([centred[labels == y].mean(0) for y in range(CLASSES)])
    limit = float((centred - means[labels]).square().sum(1).mean()) / (2 * CLASSES)
    temperature = 1e3
    assert temperature**2 * read(logits / temperature, labels).cmi == pytest.approx(limit, rel=1e-2)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_both_kinds_of_error_are_bounded_by_the_cross_entropy(scale: float) -> None:
    logits, labels = samples(scale=scale)
    reading, p = read(logits, labels), logits.softmax(1)
    missed = 1 - float(p[torch.arange(60), labels].mean())
    assert 0 < missed <= reading.cross_entropy
    assert 0 < reading.error <= reading.cross_entropy / math.log(2)


def test_very_sure_predictions_stay_finite() -> None:
    labels = torch.arange(8) % CLASSES
    logits = torch.full((8, CLASSES), -3e38).scatter(1, labels[:, None], 3e38)
    reading = read(logits, labels)
    assert (reading.error, reading.cross_entropy, reading.cmi) == (0, 0, 0)
    assert math.isfinite(reading.separation) and reading.separation > 1e38


def test_an_absent_class_is_left_out() -> None:
    logits, labels = samples(30)
    kept = labels != 2
    reading = read(logits[kept], labels[kept])
    assert [math.isnan(value) for value in reading.class_cmi] == [False, False, True, False]
    assert reading.cmi == pytest.approx(float(cmi(logits[kept].log_softmax(1), labels[kept])), abs=1e-14)


def test_one_class_has_no_separation_and_no_ratio() -> None:
    reading = read(torch.randn(5, 1), torch.zeros(5, dtype=torch.long))
    assert (reading.cmi, reading.separation) == (0, 0)
    assert math.isnan(reading.ncmi)


def test_without_samples_there_is_no_reading() -> None:
    with pytest.raises(ValueError, match="no sample"):
        InformationMeter(CLASSES).compute()
