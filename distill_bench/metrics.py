"""The closed vocabulary of measures, and how repeats are summarised.

A measure is stored as raw repeats. Distillation seeds and evaluation networks are kept apart: the repeats of
one run are its networks; runs that differ only in their seed are joined by the reader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev

from distill_bench.errors import closest

__all__ = ["FEWEST", "METRICS", "Measure", "Metric", "Summary", "place_of", "summarise"]

FEWEST = 3  # independent repeats from which an interval is given


@dataclass(frozen=True)
class Metric:
    """A name's meaning: unit, whether higher is better (None: neither), and the definition."""

    unit: str
    higher_is_better: bool | None
    definition: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric("%", True, "top-1 test accuracy of a network trained from scratch, at the last epoch"),
    "full_data_accuracy": Metric(
        "%", True, "test accuracy of the same network trained on the whole training set"
    ),
    "robust_accuracy": Metric(
        "%",
        True,
        "share of the test images that a network gets right, and all changes of which that were tried",
    ),
    "best_accuracy": Metric(
        "%", True, "the highest of the test accuracies read during training: selected on test data"
    ),
    "top5_accuracy": Metric("%", True, "share of test images whose class is among the five likeliest"),
    "negative_log_likelihood": Metric("nat", False, "mean -log q(y|x) of test images under a classifier q"),
    "brier": Metric(
        "", False, "mean squared distance of predictions from the true label's unit vector, in [0, 2]"
    ),
    "ece": Metric(
        "", False, "expected calibration error of the top probability, 15 bins of equal width, in [0, 1]"
    ),
    "label_agreement": Metric("%", True, "share of the set's images to which a classifier gives their label"),
    "log_likelihood": Metric("nat", True, "mean log q(y|x) of the set's images under a classifier q"),
    "prototype_information": Metric("nat", True, "log K + mean log q(y|x), a lower bound of I(X;Y)"),
    "cmi": Metric(
        "nat", None, "conditional mutual information I(X;Yhat|Y) of inputs and a classifier's predictions"
    ),
    "class_cmi": Metric(
        "nat",
        None,
        "conditional mutual information of the inputs of one class and a classifier's predictions",
    ),
    "separation": Metric(
        "nat", True, "mean cross-entropy of predictions of pairs with different labels, zero for equal ones"
    ),
    "ncmi": Metric("", False, "conditional mutual information over separation"),
    "feature_diversity": Metric(
        "", None, "mean cosine distance of a class's images in a classifier's embedding"
    ),
    "difficulty": Metric("", None, "mean of 1 - p(y|x) under the scorer"),
    "histogram_divergence": Metric(
        "bit", False, "KL of the selection's difficulty histogram from its target"
    ),
    "shortage": Metric("images", False, "images that a difficulty bin of the pool could not give"),
    "storage": Metric("MB", False, "size of the product as kept"),
    "distance": Metric(
        "rad", False, "angle between the original and the reduced mixture in L2, in [0, pi/2]"
    ),
    "ise": Metric(
        "", False, "integrated squared error, the squared L2 norm of the difference of two densities"
    ),
    "nise": Metric("", False, "integrated squared error over the sum of both squared norms, in [0, 1]"),
    "kl": Metric("nat", False, "Kullback-Leibler divergence of the reduced from the original mixture"),
    "mean_error": Metric("", False, "Euclidean distance of the overall means"),
    "covariance_error": Metric("", False, "Frobenius distance of the overall covariances"),
    "seconds": Metric(
        "s", False, "wall time of making the product, median over the draws where there are several"
    ),
    "step_seconds": Metric(
        "s", False, "wall time of one optimisation step, mean over the steps of this process"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Raw repeats of one metric of one product, e.g. the accuracy of each evaluation network.

    `facets` tell apart measures of one name in one run, e.g. ``{"student": "alexnet"}``.
    Raises ValueError for a name outside the vocabulary or a value that is not finite.
    """

    name: str
    values: list[float]
    facets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = self.name.split("/")[0]
        if base not in METRICS:
            raise ValueError(f"unknown metric {self.name!r}; {closest(base, METRICS)}")
        if not self.values or not all(math.isfinite(v) for v in self.values):
            raise ValueError(
                f"metric {self.name!r}: values must be finite and at least one, got {self.values}"
            )

    def as_dict(self) -> dict[str, object]:
        """The form in which a result file holds it."""
        return asdict(self)


def place_of(name: str) -> int:
    """The place of a metric in the vocabulary: the most telling come first."""
    return list(METRICS).index(name.split("/")[0])


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation (ddof 1, 0 for a single value) and 95 % interval half-width.

    `units` are the independent repeats on which the interval rests: the seeds' means, or the repeats of one
    seed.
    """

    mean: float
    std: float
    seeds: int
    repeats: int
    units: tuple[float, ...]
    interval: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.std:.2g}"


def summarise(values_by_seed: Sequence[Sequence[float]]) -> Summary:
    """Join the repeats of several seeds.

    The mean and the standard deviation are over all values (the field's custom). The 95 % interval is
    Student's t over the seeds' means when there are at least two seeds, since repeats within a seed are not
    independent; else over the repeats. Of fewer than `FEWEST` it would say nothing (t is 12.7 for two), and
    is NaN. Raises ValueError when there is nothing to summarise.
    """
    from scipy.stats import t as student_t  # slow to import, and only readers of results need it

    values = [v for seed in values_by_seed for v in seed]
    if not values:
        raise ValueError("nothing to summarise")
    units = [fmean(seed) for seed in values_by_seed] if len(values_by_seed) > 1 else values
    interval = math.nan
    if len(units) >= FEWEST:
        interval = float(student_t.ppf(0.975, len(units) - 1)) * stdev(units) / math.sqrt(len(units))
    spread = stdev(values) if len(values) > 1 else 0.0
    return Summary(fmean(values), spread, len(values_by_seed), len(values), tuple(units), interval)
