"""Joining runs: what differs only in the seed is one cell of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from distill_bench.metrics import Measure, Summary, summarise
from distill_bench.reporting.axes import Axes, Settings, axes_key, of_the_measure, settings_key
from distill_bench.reporting.results import Result

__all__ = ["FULL", "Series", "cell_of", "flat", "series_of", "size_of"]

FULL = "full"  # the name of the ceiling, the whole training set, among the methods
_NOT_OF_FULL = ("method", "ipc", "generator", "attack")  # groups that the full set's accuracy does not know


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one cell: the raw repeats of each seed, and where they were made."""

    method: str
    axes: Axes
    metric: str
    facets: Mapping[str, str]
    protocol: str  # empty for a task without one
    profile: str
    settings: Settings
    data: str  # the fingerprint of the data
    size: str  # of the evaluation, in words
    by_seed: Mapping[int, list[float]]
    devices: tuple[str, ...]
    software: tuple[str, ...]

    @property
    def summary(self) -> Summary:
        """Mean, standard deviation and interval over seeds and repeats."""
        return summarise([self.by_seed[seed] for seed in sorted(self.by_seed)])


def cell_of(result: Result) -> tuple[object, ...]:
    """What runs of one cell share: everything that a table shows but the seed, and the data."""
    labels = (result.task, result.method, result.protocol, result.profile, result.data)
    return *labels, axes_key(result.axes), settings_key(result.settings)


def series_of(results: Iterable[Result]) -> list[Series]:
    """All metrics of all cells, in the order in which they are met.

    Runs are joined when method, axes, facets, protocol, profile, settings and data agree; of two runs of one
    seed the first counts. The accuracy on the whole training set is the method `full`, and belongs to all
    methods and sizes alike.
    """
    cells: dict[tuple[object, ...], Series] = {}
    for series in (series for result in results for series in _series_of_run(result)):
        words = (series.method, series.metric, series.protocol, series.profile, series.data)
        key = (*words, axes_key(series.axes), axes_key(series.facets), settings_key(series.settings))
        cells[key] = _joined(cells[key], series) if key in cells else series
    return [_distinct_ceiling(series) for series in cells.values()]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a nested config, by dotted name."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return leaves


def _series_of_run(result: Result) -> Iterator[Series]:
    for measure in result.measures:
        full = measure.name == "full_data_accuracy"
        axes = _with_student(result.axes, measure, full)
        yield Series(
            method=FULL if full else result.method,
            axes=_axes_of_full(axes) if full else axes,
            metric=measure.name,
            facets={name: value for name, value in measure.facets.items() if name != "student"},
            protocol=result.protocol,
            profile=result.profile,
            settings=_settings_of_full(result) if full else _settings_of(result, measure),
            data=result.data,
            size=size_of(result.config),
            by_seed={result.seed: measure.values},
            devices=(str(result.provenance.get("device", "")),),
            software=(_software(result.provenance),),
        )


def _with_student(axes: Axes, measure: Measure, full: bool) -> Axes:
    """The axes, with the network that was evaluated before the one that distilled."""
    student = measure.facets.get("student", axes.get("distiller") if full else None)
    if student is None:
        return axes
    pairs: dict[str, Any] = {}
    for name, value in axes.items():
        pairs |= {"student": student, name: value} if name == "distiller" else {name: value}
    return {**pairs, "student": student}


def _axes_of_full(axes: Axes) -> Axes:
    return {name: value for name, value in axes.items() if name not in ("ipc", "distiller")}


def _settings_of(result: Result, measure: Measure) -> Settings:
    """Those on which the measure depends. The name of an attack is a facet of what is measured under it."""
    settings = {name: value for name, value in result.settings.items() if name != "attack"}
    return of_the_measure(settings, measure.facets)


def _settings_of_full(result: Result) -> Settings:
    """The settings that the whole training set has too.

    Whitening is a default of some methods, and so among the settings of no run of theirs; the whole training
    set has no method.
    """
    settings = {
        name: value
        for name, value in result.settings.items()
        if name.split(".")[0] not in _NOT_OF_FULL and name != "dataset.zca"
    }
    dataset = result.config.get("dataset")
    whitened = isinstance(dataset, Mapping) and dataset.get("zca") is True
    return {**settings, "dataset.zca": True} if whitened else settings


def size_of(config: Mapping[str, Any]) -> str:
    """What the evaluation of a product cost, e.g. ``convnet of width 32, E = 150, 3 networks a set``; for a
    classifier, what its training did."""
    student, protocol = config.get("student"), config.get("protocol") or config.get("recipe")
    words = []
    if isinstance(student, Mapping) and {"name", "width"} <= student.keys():
        words.append(f"{student['name']} of width {student['width']}")
    if isinstance(protocol, Mapping):
        words += [f"E = {protocol['epochs']}"] if "epochs" in protocol else []
        words += [f"{protocol['nets']} networks a set"] if "nets" in protocol else []
    return ", ".join([*words, *_canvases(config)])


def _canvases(config: Mapping[str, Any]) -> list[str]:
    """Where IPC counts canvases: how many images and pixels of a class that is."""
    protocol, ipc, dataset = (config.get(name) for name in ("protocol", "ipc", "dataset"))
    if not (isinstance(protocol, Mapping) and isinstance(ipc, Mapping) and isinstance(dataset, Mapping)):
        return []
    if protocol.get("canvas", 1) == 1:
        return []
    canvases, each = ipc["images_per_class"], protocol["canvas"] ** 2
    images = canvases * each
    pixels = dataset["resolution"] ** 2 * (images if protocol["pack"] == "stack" else canvases)
    return [f"ipc {canvases}x{each}: {images} images a class, on canvases of {pixels:,} pixels in all"]


def _software(provenance: Mapping[str, Any]) -> str:
    names = ("distill_bench", "torch", "commit")
    return ", ".join(f"{name} {provenance[name]}" for name in names if provenance.get(name))


def _joined(one: Series, other: Series) -> Series:
    return replace(
        one,
        by_seed={**other.by_seed, **one.by_seed},
        devices=tuple(dict.fromkeys(one.devices + other.devices)),
        software=tuple(dict.fromkeys(one.software + other.software)),
    )


def _distinct_ceiling(series: Series) -> Series:
    """Runs that took the same networks from the cache are not repeats, whether all of them or some."""
    if series.method != FULL:
        return series
    distinct: dict[int, list[float]] = {}
    for seed, values in sorted(series.by_seed.items(), key=lambda item: (-len(item[1]), item[0])):
        if not any(other[: len(values)] == values for other in distinct.values()):
            distinct[seed] = values
    return replace(series, by_seed=dict(sorted(distinct.items())))
