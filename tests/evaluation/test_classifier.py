"""The measures of a classifier: what they are called, that they agree with one another, and from what."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill_bench import data
from distill_bench.errors import UserError
from distill_bench.evaluation import classifier_measures
from distill_bench.evaluation.classifier import BATCH
from distill_bench.groups import StudentConfig
from distill_bench.metrics import Measure
from distill_bench.models import for_data
from distill_bench.training import Students, accuracies
from tests.data.pictures import folder_config, loaded, named_config, picture_folder

Classifier = Callable[[Tensor], Tensor]


def split(count: int = 2 * BATCH + 30, classes: int = 4, device: str = "cpu") -> data.ResidentSplit:
    """Random 2x2 images of three channels, whose labels go round."""
    pixels = torch.randint(
        0, 256, (count, 3, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    labels = torch.arange(count) % classes
    normalise = data.Normalise([0.5] * 3, [0.25] * 3)
    return data.ResidentSplit(pixels.to(device), labels.to(device), classes, normalise)


def linear(classes: int = 4, device: str = "cpu") -> Classifier:
    weight = torch.randn(classes, 12, generator=torch.Generator().manual_seed(1)).to(device)
    return lambda pixels: 3 * pixels.flatten(1) @ weight.T


def names(classes: int) -> list[str]:
    return [f"class {k}" for k in range(classes)]


def value(measures: list[Measure], name: str) -> float:
    (measure,) = [measure for measure in measures if measure.name == name]
    (number,) = measure.values
    return number


def measured(classes: int = 4) -> list[Measure]:
    return classifier_measures(linear(classes), split(classes=classes), names(classes))


def test_the_measures_are_named_once_and_those_of_classes_after_their_class() -> None:
    measures = measured()
    whole = [measure.name for measure in measures if not measure.facets]
    assert whole == [
        *("accuracy", "negative_log_likelihood", "brier", "ece"),
        *("cmi", "separation", "ncmi"),
    ]
    assert [m.facets for m in measures if m.name == "class_cmi"] == [{"class": name} for name in names(4)]


def test_the_classifier_sees_pixels_between_0_and_1_each_image_once_and_in_order() -> None:
    seen: list[Tensor] = []

    def look(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return linear()(pixels)

    images = split()
    classifier_measures(look, images, names(4))
    assert torch.equal(torch.cat(seen), images.unit(torch.arange(len(images))))
    assert (float(torch.cat(seen).min()), float(torch.cat(seen).max())) == (0, 1)


def test_accuracy_is_the_share_of_hits() -> None:
    images, predict = split(), linear()
    hits = int((predict(images.unit(torch.arange(len(images)))).argmax(1) == images.labels).sum())
    assert value(measured(), "accuracy") == 100 * hits / len(images)


def test_cmi_is_the_mean_over_classes_by_their_frequency_and_ncmi_its_ratio_to_separation() -> None:
    images = split(count=130)
    measures = classifier_measures(linear(), images, names(4))
    by_class = torch.tensor([m.values[0] for m in measures if m.name == "class_cmi"], dtype=torch.float64)
    assert float(by_class @ (images.class_counts / 130).double()) == pytest.approx(value(measures, "cmi"))
    assert value(measures, "ncmi") == value(measures, "cmi") / value(measures, "separation")


def test_the_five_likeliest_are_counted_from_twenty_classes_on() -> None:
    assert not [measure for measure in measured(19) if measure.name == "top5_accuracy"]
    images, predict = split(classes=20), linear(20)
    logits = predict(images.unit(torch.arange(len(images))))
    ranks = (logits > logits.gather(1, images.labels[:, None])).sum(1)
    assert value(measured(20), "top5_accuracy") == 100 * int((ranks < 5).sum()) / len(images)
    assert value(measured(20), "top5_accuracy") > value(measured(20), "accuracy")


def test_streamed_images_have_the_measures_of_resident_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_bench.evaluation.classifier.BATCH", 4)
    folder = picture_folder(tmp_path / "pictures")
    sets = [loaded(folder_config(folder, streamed=streamed), tmp_path) for streamed in (False, True)]
    assert [type(each.test) for each in sets] == [data.ResidentSplit, data.StreamedSplit]
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    one, other = (
        classifier_measures(lambda pixels: pixels.mean((2, 3)) @ weight, each.test, each.class_names)
        for each in sets
    )
    assert one == other


def test_a_network_is_as_accurate_as_its_trainer_says(tmp_path: Path) -> None:
    digits = loaded(named_config("digits"), tmp_path)
    net = for_data(StudentConfig(width=8), digits).eval()
    measures = classifier_measures(
        lambda pixels: net(digits.transform.forward_unit(pixels)), digits.test, digits.class_names
    )
    assert value(measures, "accuracy") == accuracies(Students([net]), digits.test)[0] > 0


def test_predictions_that_are_all_one_class_have_no_ratio() -> None:
    sure = torch.tensor([1e4, 0.0, 0.0, 0.0])
    measures = classifier_measures(lambda pixels: sure.expand(len(pixels), -1), split(), names(4))
    assert (value(measures, "cmi"), value(measures, "separation")) == (0, 0)
    assert "ncmi" not in {measure.name for measure in measures}
    assert math.isfinite(value(measures, "negative_log_likelihood"))


def test_classes_of_one_name_are_told_apart() -> None:
    measures = classifier_measures(linear(), split(), ["crane", "egret", "crane", "stork"])
    facets = [measure.facets["class"] for measure in measures if measure.name == "class_cmi"]
    assert facets == ["crane (0)", "egret", "crane (2)", "stork"]


def test_a_classifier_of_other_classes_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"logits of shape \(250, 4\), where the data have 5 classes"):
        classifier_measures(linear(4), split(classes=5), names(5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_is_read_from_the_device_before_the_end() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    images, predict, batches = split(device="cuda"), linear(device="cuda"), []

    def watched(pixels: Tensor) -> Tensor:
        batches.append(len(pixels))
        torch.cuda.set_sync_debug_mode("error" if len(batches) < 3 else "default")
        return predict(pixels)

    on_device = classifier_measures(watched, images, names(4))
    assert batches == [BATCH, BATCH, 30]
    for one, other in zip(on_device, measured(), strict=True):
        assert (one.name, one.facets) == (other.name, other.facets)
        assert one.values == pytest.approx(other.values, rel=1e-4)
