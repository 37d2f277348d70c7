"""What there is to say of a classifier on labelled images: how often it is right, how far its probabilities
may be believed, and how they lie."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench.errors import UserError
from distill_bench.evaluation.calibration import CalibrationMeter
from distill_bench.information import InformationMeter
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.data import Split

__all__ = ["classifier_measures"]

BATCH = 250  # images in one pass
MANY = 20  # classes from which on the five likeliest are counted too


@torch.no_grad()
def classifier_measures(
    classifier: Callable[[Tensor], Tensor], split: Split, class_names: Sequence[str]
) -> list[Measure]:
    """Measures of `classifier`, pixels (B, C, H, W) in [0, 1] -> logits (B, K), on all of `split`.

    `accuracy` (%), from 20 classes on `top5_accuracy` (%), `negative_log_likelihood` (nat), `brier`, `ece`,
    `cmi`, `separation` (nat), `ncmi`, and `class_cmi` (nat) with the facet `class` for each class that has
    images: one value each. One pass over the split on its device, where the classifier must be, in evaluation
    mode if it is a module. Sums are in double precision, and nothing is read from the device before the end.
    A ratio over a separation of 0 is left out. UserError for a classifier of other classes.
    """
    classes, device = len(class_names), split.labels.device
    information, calibration = InformationMeter(classes, device), CalibrationMeter(device)
    near = torch.zeros((), dtype=torch.long, device=device)
    for pixels, labels in zip(split.pixels(BATCH), split.labels.split(BATCH), strict=True):
        logits = classifier(pixels.float().div_(255))
        if logits.shape != (len(labels), classes):
            raise UserError(f"logits of shape {tuple(logits.shape)}, where the data have {classes} classes")
        information.update(logits, labels)
        calibration.update(logits, labels)
        if classes >= MANY:
            near += (logits.topk(5).indices == labels[:, None]).sum()
    reading = information.compute()
    values = {"accuracy": 100 * (reading.samples - reading.errors) / reading.samples}
    values |= {"top5_accuracy": 100 * int(near) / reading.samples} if classes >= MANY else {}
    values |= {"negative_log_likelihood": reading.cross_entropy, **calibration.compute()}
    values |= {"cmi": reading.cmi, "separation": reading.separation}
    values |= {"ncmi": reading.ncmi} if math.isfinite(reading.ncmi) else {}
    measures = [Measure(name=name, values=[value]) for name, value in values.items()]
    by_class = zip(_distinct(class_names), reading.class_cmi, strict=True)
    return measures + [
        Measure(name="class_cmi", values=[value], facets={"class": name})
        for name, value in by_class
        if math.isfinite(value)
    ]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with the class's number where two classes share one (ImageNet has two cranes)."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
