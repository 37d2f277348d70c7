"""How numbers are written: as many digits as they deserve, the same in every table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from distill_bench.catalogue import conf_dir
from distill_bench.metrics import METRICS, Metric, place_of

__all__ = [
    "chance",
    "chance_of",
    "gain",
    "gap_text",
    "heading",
    "mean_std",
    "metric_of",
    "plain_number",
    "rank",
    "single",
    "span",
]

_ROUNDING = 1e-12  # what is smaller is the rounding of doubles, and shown as 0
_FACETS = {"attack": "under {}", "class": "of {}"}  # facets that have words of their own


def metric_of(name: str) -> Metric:
    """The vocabulary's entry for a metric's name."""
    return METRICS[name.split("/")[0]]


def chance(config: Mapping[str, Any]) -> float | None:
    """The accuracy in % of guessing, of equally frequent classes; None where their number is not known."""
    dataset = config.get("dataset")
    if not isinstance(dataset, Mapping):
        return None
    count = len(dataset.get("classes") or ()) or int(dataset.get("num_classes") or 0)
    return 100 / count if count else None


@cache
def chance_of(dataset: str) -> float | None:
    """The same of a data set by its name; None for one that is not of the config, or of unknown classes."""
    file = conf_dir() / "dataset" / f"{dataset}.yaml"
    found = re.search(r"^num_classes: *(\d+)", file.read_text(), re.MULTILINE) if file.is_file() else None
    return 100 / int(found[1]) if found and int(found[1]) else None


def rank(name: str) -> int:
    """The place of a metric in the vocabulary."""
    return place_of(name)


def heading(name: str, facets: Mapping[str, str] = MappingProxyType({})) -> str:
    """A metric with its facets, its unit and an arrow towards better: ``cmi of cat (nat)``."""
    metric = metric_of(name)
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    unit = f" ({metric.unit})" if metric.unit else ""
    words = [_FACETS.get(key, f"{key}={{}}").format(value) for key, value in sorted(facets.items())]
    return f"{' '.join([name.replace('_', ' '), *words])}{unit}{arrow}"


def single(value: float, name: str) -> str:
    """One number: one decimal for percentages, as the literature writes them, else four digits."""
    if metric_of(name).unit == "%":
        return f"{value:.1f}"
    return f"{value:.4g}" if abs(value) >= _ROUNDING else "0"


def plain_number(deviation: float, name: str) -> str:
    """A deviation alone: one decimal for percentages, else two digits."""
    return f"{deviation:.1f}" if metric_of(name).unit == "%" else f"{deviation:.2g}"


def mean_std(mean: float, std: float | None, name: str) -> str:
    """``mean ± std``: two digits of the deviation (percentages: one decimal); without deviation the mean."""
    if not std or max(abs(mean), std) < _ROUNDING:
        return single(mean, name)
    if metric_of(name).unit == "%":
        return f"{mean:.1f} ± {std:.1f}"
    places = max(0, 1 - math.floor(math.log10(std)))
    return f"{mean:.{places}f} ± {std:.{places}f}" if places <= 6 else f"{mean:.4g} ± {std:.1e}"


def gap_text(gap: float, name: str) -> str:
    """A difference with its sign."""
    return f"{gap:+.1f}" if metric_of(name).unit == "%" else f"{gap:+.3g}"


def gain(gap: float, name: str) -> float | None:
    """`gap` with the sign turned so that positive is better; None for a metric without a better side."""
    higher = metric_of(name).higher_is_better
    return None if higher is None else gap if higher else -gap


def span(seconds: float) -> str:
    """A time for people: ``0.42 s``, ``12.3 s``, ``4 min 10 s``, ``2 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
