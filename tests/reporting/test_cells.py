"""Joining runs into cells: seeds are joined, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_bench.reporting import Series, read_results, series_of
from distill_bench.reporting.layout import pivots
from distill_bench.reporting.table import rows
from tests.reporting import build


@pytest.fixture
def joined(tmp_path: Path) -> Any:
    """Contents of result files -> the series that they make."""

    def join(*contents: dict[str, Any]) -> list[Series]:
        for content in contents:
            build.write(tmp_path, content)
        return series_of(read_results(tmp_path))

    return join


def test_seeds_are_joined_and_their_networks_stay_apart(joined: Any) -> None:
    runs = [
        build.content(
            "dm", build.images(), [build.measure("accuracy", 10.0 * s, 10.0 * s + 1, student="convnet")], s
        )
        for s in (0, 1, 2)
    ]
    (series,) = joined(*runs)
    assert series.by_seed == {0: [0.0, 1.0], 1: [10.0, 11.0], 2: [20.0, 21.0]}
    assert (series.summary.seeds, series.summary.repeats) == (3, 6)


def test_the_network_evaluated_is_an_axis_beside_the_one_that_distilled(joined: Any) -> None:
    measures = [build.measure("accuracy", 1.0, student=name) for name in ("convnet", "alexnet")]
    series = joined(build.content("dm", build.images(), [*measures, build.measure("storage", 3.0)]))
    assert [list(each.axes) for each in series] == [
        ["dataset", "ipc", "student", "distiller"],
        ["dataset", "ipc", "student", "distiller"],
        ["dataset", "ipc", "distiller"],
    ]
    assert [each.axes.get("student") for each in series] == ["convnet", "alexnet", None]
    assert not any(each.facets for each in series)


def test_other_facets_stay_facets(joined: Any) -> None:
    (series,) = joined(build.content("igds", build.images(), [build.measure("cmi", 1.0, by="estimator")]))
    assert (series.metric, series.facets) == ("cmi", {"by": "estimator"})


def test_other_settings_are_another_cell(joined: Any) -> None:
    accuracy = [build.measure("accuracy", 1.0)]
    settings: tuple[dict[str, Any], ...] = ({}, {"method.power": 1}, {"method.power": 2})
    runs = [build.content("datadam", build.images(settings=each), accuracy) for each in settings]
    cells = [each.settings for each in joined(*runs)]
    assert len(cells) == 3
    assert all(each in cells for each in settings)


def test_audit_and_ceiling_do_not_split_a_cell_and_a_seed_counts_once(joined: Any) -> None:
    accuracy = build.measure("accuracy", 60.0, 62.0, student="convnet")
    plain = build.content("dm", build.images(), [accuracy], audit=False)
    audited = build.content(
        "dm", build.images(), [accuracy, build.measure("cmi", 0.1, by="independent")], audit=True
    )
    series = {each.metric: each for each in joined(plain, audited)}
    assert series["accuracy"].by_seed == {0: [60.0, 62.0]}
    assert set(series) == {"accuracy", "cmi"}


def test_equal_cells_on_other_data_are_not_joined(joined: Any) -> None:
    one, other = (
        build.content("dm", build.images(), [build.measure("accuracy", 1.0)], seed) for seed in (0, 1)
    )
    other["provenance"]["data_fingerprint"] = "0ther"
    assert sorted(series.data for series in joined(one, other)) == ["0ther", "feedbeef"]


def test_the_ceiling_is_one_row_for_all_methods_and_sizes(joined: Any) -> None:
    ceiling = build.measure("full_data_accuracy", 84.5, student="convnet")
    cells = [build.images("cifar10", ipc, settings={"method.x": ipc, "generator": "dit"}) for ipc in (1, 10)]
    (series,) = joined(*(build.content(m, cell, [ceiling]) for m in ("dm", "random") for cell in cells))
    assert (series.method, series.axes) == ("full", {"dataset": "cifar10", "student": "convnet"})
    assert (series.settings, series.by_seed) == ({}, {0: [84.5]})


def test_the_ceiling_of_whitened_images_is_another_row(joined: Any) -> None:
    def ceiling(method: str, value: float, zca: bool) -> dict[str, Any]:
        content = build.content(method, build.images(), [build.measure("full_data_accuracy", value)])
        content["config"]["dataset"] = {"name": "cifar10", "zca": zca}
        return content

    series = joined(ceiling("dm", 70.0, False), ceiling("datadam", 71.0, True))
    assert {each.by_seed[0][0]: each.settings for each in series} == {70.0: {}, 71.0: {"dataset.zca": True}}


def test_networks_from_the_cache_are_not_counted_as_repeats(joined: Any) -> None:
    def ceiling(seed: int, *values: float) -> dict[str, Any]:
        return build.content("dm", build.images(), [build.measure("full_data_accuracy", *values)], seed)

    (series,) = joined(ceiling(0, 84.5), ceiling(1, 84.5), ceiling(2, 84.1), ceiling(3, 84.5, 84.2))
    assert series.by_seed == {2: [84.1], 3: [84.5, 84.2]}


def test_what_is_measured_on_images_as_they_are_is_one_cell_under_all_attacks(joined: Any) -> None:
    runs = []
    for attack in ("none", "fgsm", "pgd20"):
        settings: dict[str, Any] = {"recipe": "digits"}
        measures = [build.measure("accuracy", 90.0)]
        if attack != "none":
            settings |= {"attack": attack, "attack.images": 100}
            measures.append(build.measure("robust_accuracy", 50.0, attack=attack))
        runs.append(build.content("ce", build.classifier(settings=settings), measures))
    series = {(each.metric, *each.facets.values()): each.settings for each in joined(*runs)}
    attacked = {"attack.images": 100, "recipe": "digits"}
    assert series == {
        ("accuracy",): {"recipe": "digits"},
        ("robust_accuracy", "fgsm"): attacked,
        ("robust_accuracy", "pgd20"): attacked,
    }


def test_sets_that_count_canvases_stand_apart_and_say_what_they_count(tmp_path: Path) -> None:
    accuracy, packed = [build.measure("accuracy", 1.0, student="convnet")], build.images(ipc=10)
    build.write(tmp_path, build.content("igds", packed, accuracy))
    packed["axes"]["ipc"], packed["protocol"] = "10x4", "igds_patches"
    content = build.content("igds", packed, accuracy)
    content["config"] |= {
        "ipc": {"images_per_class": 10, "canvas": 2},
        "dataset": {"resolution": 32},
        "protocol": {"name": "igds_patches", "canvas": 2, "pack": "downscale"},
    }
    build.write(tmp_path, content)
    results = read_results(tmp_path)
    sizes = {series.axes["ipc"]: series.size for series in series_of(results)}
    assert "canvases" not in sizes[10]
    assert "ipc 10x4: 40 images a class, on canvases of 10,240 pixels in all" in sizes["10x4"]
    assert sorted(pivot.protocol for pivot in pivots(rows(results))) == ["dc", "igds_patches"]
