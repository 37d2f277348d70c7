"""Every table's sweep composes of what there is, and every number of a paper has its place in it or is
declared."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from distill_bench.catalogue import conf_dir, group_options, method_files
from distill_bench.groups import GROUPS
from distill_bench.overrides import quote_numbers
from distill_bench.planning import Plan
from distill_bench.reporting import Reference, reference_file
from distill_bench.reporting.axes import axes_key
from distill_bench.reporting.cells import FULL
from tests.conftest import REPOSITORY, make_plan

EXPERIMENTS = [name for name in group_options("experiment") if name != "none"]
FILES = {file.stem: file for file in sorted((REPOSITORY / "results" / "reference").glob("*.csv"))}

TABULATED_ALONE = {  # methods of the literature that a paper's table has and this program has not
    "brute",
    "cafe",
    "cowa",
    "d4m",
    "gmrc",
    "idc1",
    "igd",
    "kip",
    "mgd3_modes_only",
    "mgd3_without_stop",
    "minimax_igd",
    "mtt",
    "rded",
    "sre2l",
}
REFERENCE_ONLY = {  # (experiment, method or *, word of an axis or *): numbers that the sweep does not measure
    ("atom_table1", "random", "*"),
    ("datadam_table1", "dc", "*"),
    ("datadam_table1", "dsa", "*"),
    ("datadam_table2", "dc", "*"),
    ("datadam_table2", "dsa", "*"),
    ("difficulty_table1", "*", "imagewoof"),  # second-hand; the base without selection is target=first there
    ("igds_table1", "*", "*"),  # baselines that IGDS is compared with; its own numbers are not established
    ("mgd3_table1", "*", "imageidc"),  # no data set here
    ("mgd3_table1", "*", "imagenet100"),
    ("minimax_table1", FULL, "*"),
}


def _text(value: Any) -> list[str]:
    """The values of a sweep's parameter, unquoted."""
    words = str(value).strip()
    if words.startswith("range("):
        low, high = words.removeprefix("range(").removesuffix(")").split(",")
        return [str(number) for number in range(int(low), int(high))]
    return [word.strip().strip("'\"") for word in words.split(",")]


@cache
def sweep(name: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The options an experiment chooses, and the parameters it sweeps."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        config = compose("config", overrides=[f"experiment={name}"], return_hydra_config=True)
    parameters = OmegaConf.to_container(config.hydra.sweeper.params) or {}
    assert isinstance(parameters, dict)
    choices = {str(key): str(value) for key, value in config.hydra.runtime.choices.items()}
    assert config.experiment_name in EXPERIMENTS  # two sweeps may fill one table
    return choices, {str(key): _text(value) for key, value in parameters.items()}


def swept(name: str, group: str) -> list[str]:
    """The options of `group` in an experiment."""
    choices, parameters = sweep(name)
    return parameters.get(group, [choices[group]])


@cache
def plan_of(name: str, cell: tuple[tuple[str, str], ...], roots: Path) -> Plan:
    """The plan of one cell of an experiment."""
    return make_plan(
        f"experiment={name}", *quote_numbers([f"{key}={value}" for key, value in cell]), roots=roots
    )


def plans(name: str, roots: Path) -> list[Plan]:
    """One plan for each value of each parameter, the others at their first; of mixtures, all combinations."""
    _, parameters = sweep(name)
    few = {key: values if key != "seed" else values[:1] for key, values in parameters.items()}
    first = {key: values[0] for key, values in few.items()}
    cells = [{**first, key: value} for key, values in few.items() for value in values]
    if "mixture" in few:
        cells = [dict(zip(few, cell, strict=True)) for cell in itertools.product(*few.values())]
    return [plan_of(name, cell, roots) for cell in dict.fromkeys(tuple(cell.items()) for cell in cells)]


def measured(name: str, roots: Path) -> set[tuple[str, Any]]:
    """(method, axes) of every cell that an experiment measures, `full` among the methods."""
    cells: set[tuple[str, Any]] = set()
    for plan in plans(name, roots):
        groups = plan.product.groups
        students = [groups["student"].name, *groups["protocol"].students] if "protocol" in groups else [None]
        sizes = [plan.axes]
        if "ipc" in groups:  # axes follow from the parameters: no need to plan each combination
            parameters = sweep(name)[1]
            counts = parameters.get("ipc", parameters.get("ipc.images_per_class", [plan.axes["ipc"]]))
            combined = itertools.product(swept(name, "dataset"), counts)
            sizes = [
                {**plan.axes, "dataset": dataset, **replace(groups["ipc"], images_per_class=int(n)).label("")}
                for dataset, n in combined
            ]
        for axes, student in itertools.product(sizes, students):
            place = {**axes, "student": student} if student else axes
            cells.add((plan.product.name, axes_key(place)))
            if student and groups["protocol"].ceiling:
                full = {key: value for key, value in place.items() if key not in ("ipc", "distiller")}
                cells.add((FULL, axes_key(full)))
    return cells


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_names_methods_and_options_there_are(name: str) -> None:
    assert set(swept(name, "method")) <= set(method_files()), "no such method"
    for group in GROUPS:
        assert set(swept(name, group)) <= set(group_options(group)), f"no such {group}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_choice_of_an_experiment_can_be_planned(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = plans(name, tmp_path_factory.getbasetemp())
    assert made
    for plan in made:
        protocol = plan.product.groups.get("protocol")
        named = protocol.students if protocol else []
        assert set(named) <= set(group_options("student")), "no such student"


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name in FILES])
def test_every_number_of_a_paper_is_measured_or_declared(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cells = measured(name, tmp_path_factory.getbasetemp())
    missing = [number for number in reference_file(FILES[name]) if not _placed(name, number, cells)]
    assert not missing, [f"{number.method}: {number.axes}" for number in missing]


def test_a_number_without_a_place_would_be_found() -> None:
    number = reference_file(FILES["mgd3_table1"])[0]
    assert _placed("mgd3_table1", number, {(number.method, axes_key(number.axes))})
    assert not _placed("mgd3_table1", number, {(number.method, axes_key({**number.axes, "distiller": "x"}))})
    assert not _placed("mgd3_table1", number, {("diffusion", axes_key(number.axes))})


def _placed(name: str, number: Reference, cells: set[tuple[str, Any]]) -> bool:
    if number.method in TABULATED_ALONE or (number.method, axes_key(number.axes)) in cells:
        return True
    words = ("*", *(str(value) for value in number.axes.values()))
    return any((name, method, word) in REFERENCE_ONLY for method in ("*", number.method) for word in words)
