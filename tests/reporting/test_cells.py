"""Joining runs into cells: seeds are joined, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_bench.reporting import Series, read_results, series_of, setting_of
from distill_bench.reporting.cells import natural
from tests.reporting import build


@pytest.fixture
def joined(tmp_path: Path) -> Any:
    """Contents of result files -> the series that they make."""

    def join(*contents: dict[str, Any]) -> list[Series]:
        for content in contents:
            build.write(tmp_path, content)
        return series_of(read_results(tmp_path))

    return join


@pytest.mark.parametrize(
    ("labels", "facets", "setting"),
    [
        pytest.param(build.images("cifar10", 10), {"student": "convnet"}, "cifar10 ipc=10", id="main table"),
        pytest.param(build.images("cifar10", 10), {}, "cifar10 ipc=10", id="no facet"),
        pytest.param(
            build.images("cifar10", 50),
            {"student": "alexnet"},
            "cifar10 ipc=50 student=alexnet",
            id="cross-architecture",
        ),
        pytest.param(
            build.images(student="resnet18"),
            {"student": "resnet18"},
            "cifar10 ipc=1 student=resnet18 distiller=resnet18",
            id="another distiller",
        ),
        pytest.param(build.mixture(5), {}, "classic L=5", id="classic mixture"),
        pytest.param(
            build.mixture(5, mixture="random", dimension=4), {}, "random d=4 10->5", id="random mixture"
        ),
    ],
)
def test_a_setting_has_its_canonical_name(
    labels: dict[str, Any], facets: dict[str, str], setting: str
) -> None:
    assert setting_of(labels, facets) == setting


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
    assert series.variant == ""


def test_equal_labels_with_another_config_are_not_joined_and_say_how_they_differ(joined: Any) -> None:
    accuracy = [build.measure("accuracy", 1.0)]
    found = joined(*(build.content("dm", build.images(), accuracy, iterations=n, lr=1) for n in (100, 200)))
    assert sorted(series.variant for series in found) == ["iterations=100", "iterations=200"]


def test_equal_configs_on_other_data_are_not_joined(joined: Any) -> None:
    one, other = (
        build.content("dm", build.images(), [build.measure("accuracy", 1.0)], seed) for seed in (0, 1)
    )
    other["provenance"]["data_fingerprint"] = "0ther"
    assert sorted(series.variant for series in joined(one, other)) == ["data=0ther", "data=feedbeef"]


def test_the_ceiling_is_one_row_for_all_methods_and_sizes(joined: Any) -> None:
    ceiling = build.measure("full_data_accuracy", 84.5, student="convnet")
    runs = [
        build.content(m, build.images("cifar10", ipc), [ceiling]) for m in ("dm", "random") for ipc in (1, 10)
    ]
    (series,) = joined(*runs)
    assert (series.method, series.setting, series.by_seed) == ("full", "cifar10", {0: [84.5]})


def test_networks_from_the_cache_are_not_counted_as_repeats(joined: Any) -> None:
    def ceiling(seed: int, value: float) -> dict[str, Any]:
        return build.content("dm", build.images(), [build.measure("full_data_accuracy", value)], seed)

    (series,) = joined(ceiling(0, 84.5), ceiling(1, 84.5), ceiling(2, 84.1))
    assert series.by_seed == {0: [84.5], 2: [84.1]}


def test_numbers_are_ordered_as_numbers() -> None:
    names = ["cifar100 ipc=10", "cifar10 ipc=50", "cifar10 ipc=2", "cifar10 ipc=10"]
    assert sorted(names, key=natural) == [
        "cifar10 ipc=2",
        "cifar10 ipc=10",
        "cifar10 ipc=50",
        "cifar100 ipc=10",
    ]


def test_the_whole_training_set_is_one_row_whether_or_not_a_method_has_a_generator(tmp_path: Path) -> None:
    for method, more in (("random", {}), ("diffusion", {"generator": {"kind": "diffusion"}})):
        labels = build.images("digits", 1, **({"generator": "trained"} if more else {}))
        content = build.content(method, labels, [build.measure("full_data_accuracy", 98.0)], 0)
        content["config"] = {**content["config"], **more, "method": {"name": method}}
        build.write(tmp_path, content)
    (full,) = [series for series in series_of(read_results(tmp_path)) if series.method == "full"]
    assert full.variant == ""
