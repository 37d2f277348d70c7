"""Joining runs: what differs only in the seed is one cell of a table."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from distill_bench.metrics import Measure, Summary, summarise
from distill_bench.reporting.results import Result
from distill_bench.store import content_key

__all__ = ["FULL", "Series", "flat", "natural", "series_of", "setting_of", "without_ipc"]

FULL = "full"  # the name of the ceiling, the whole training set, among the methods
_DEFAULT_STUDENT = "convnet"  # the network of the main tables, which a setting does not name


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one cell: the raw repeats of each seed, and where they were made."""

    method: str
    setting: str
    metric: str
    protocol: str  # empty for a task without one
    profile: str
    variant: str = ""  # what sets this cell apart from others with the same labels
    cell: str
    config: Mapping[str, Any] = field(repr=False)
    by_seed: Mapping[int, list[float]]
    devices: tuple[str, ...]
    software: tuple[str, ...]

    @property
    def summary(self) -> Summary:
        """Mean, standard deviation and interval over seeds and repeats."""
        return summarise(list(self.by_seed.values()))


def setting_of(labels: Mapping[str, Any], facets: Mapping[str, str]) -> str:
    """The canonical name of what a method was asked to do, as in the reference files.

    Dataset distillation: ``cifar10 ipc=10``, then `` student=alexnet`` unless the evaluated network is the
    convnet, then `` distiller=resnet18`` unless the set was made with the convnet. Mixture reduction:
    ``classic L=5`` or ``random d=4 10->5``.
    """
    if "mixture" in labels:
        name, target = labels["mixture"], labels.get("target")
        if name == "classic":
            return f"{name} L={target}"
        return f"{name} d={labels.get('dimension')} {labels.get('components')}->{target}"
    words = [str(labels.get("dataset", "")), f"ipc={labels['ipc']}" if "ipc" in labels else ""]
    distiller = labels.get("student", _DEFAULT_STUDENT)
    for key, network in (("student", facets.get("student", distiller)), ("distiller", distiller)):
        words.append("" if network == _DEFAULT_STUDENT else f"{key}={network}")
    return " ".join(filter(None, words))


def without_ipc(setting: str) -> str:
    """The setting of the whole training set that belongs to `setting`."""
    return " ".join(word for word in setting.split() if not word.startswith(("ipc=", "distiller=")))


def series_of(results: Iterable[Result]) -> list[Series]:
    """All metrics of all cells, in the order in which they are met.

    Runs are joined when they differ in nothing but the seed (equal `cell_id`, equal data). Cells that differ
    in their config although their labels are equal stay apart, and `variant` says in what they differ. The
    accuracy on the whole training set is the method `full`, and belongs to all methods alike.
    """
    found: dict[tuple[str, ...], Series] = {}
    for result in results:
        for series in _series_of_run(result):
            key = (series.method, series.setting, series.metric, series.cell)
            found[key] = _joined(found[key], series) if key in found else series
    return _with_variants(map(_distinct_ceiling, found.values()))


def _series_of_run(result: Result) -> Iterator[Series]:
    data = str(result.provenance.get("data_fingerprint", ""))
    config = {**result.config, "data": data} if data else dict(result.config)
    config.pop("seed", None)
    for measure in result.measures:
        full = measure.name == "full_data_accuracy"
        labels = {
            key: value for key, value in result.labels.items() if key not in ("ipc", "student", "generator")
        }
        shared = {key: value for key, value in config.items() if key not in ("method", "ipc", "generator")}
        yield Series(
            method=FULL if full else result.method,
            setting=setting_of(labels if full else result.labels, measure.facets),
            metric=_metric_name(measure),
            protocol=str(result.labels.get("protocol", "")),
            profile=str(result.labels.get("profile", "")),
            cell=content_key(shared) if full else content_key({"cell": result.cell_id, "data": data}),
            config=shared if full else config,
            by_seed={result.seed: measure.values},
            devices=(str(result.provenance.get("device", "")),),
            software=(_software(result.provenance),),
        )


def _metric_name(measure: Measure) -> str:
    """The metric, with the facets that the setting does not tell."""
    rest = [f"{key}={value}" for key, value in sorted(measure.facets.items()) if key != "student"]
    return " ".join([measure.name, *rest])


def _software(provenance: Mapping[str, Any]) -> str:
    words = [
        f"{key} {provenance[key]}" for key in ("distill_bench", "torch", "commit") if provenance.get(key)
    ]
    return ", ".join(words)


def _joined(one: Series, other: Series) -> Series:
    return replace(
        one,
        by_seed={**other.by_seed, **one.by_seed},
        devices=tuple(dict.fromkeys(one.devices + other.devices)),
        software=tuple(dict.fromkeys(one.software + other.software)),
    )


def _distinct_ceiling(series: Series) -> Series:
    """Runs that took the same networks from the cache are not repeats of one another."""
    if series.method != FULL:
        return series
    distinct: dict[tuple[float, ...], int] = {}
    for seed, values in sorted(series.by_seed.items()):
        distinct.setdefault(tuple(values), seed)
    return replace(series, by_seed={seed: list(values) for values, seed in distinct.items()})


def _with_variants(found: Iterable[Series]) -> list[Series]:
    alike: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    for series in found:
        labels = (series.method, series.setting, series.metric, series.protocol, series.profile)
        alike[labels].append(series)
    named = []
    for group in alike.values():
        configs = [flat(series.config) for series in group]
        keys = {key: None for config in configs for key in config}
        differing = [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]
        if len(differing) > 1:
            differing = [key for key in differing if key != "data"]  # a fingerprint tells a reader least
        for series, config in zip(group, configs, strict=True):
            words = [f"{key.removeprefix('method.')}={config.get(key)}" for key in differing]
            named.append(replace(series, variant=", ".join(words)))
    return named


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested config, by dotted name."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return leaves


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which ``ipc=2`` comes before ``ipc=10``."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
