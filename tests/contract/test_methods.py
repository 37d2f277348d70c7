"""Every method keeps the contract: file, config and page agree, and a smoke run gives a valid result."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from distill_bench.catalogue import (
    conf_dir,
    group_options,
    method_files,
    method_module,
    task_names,
)
from distill_bench.files import load_tensors
from distill_bench.groups import GROUPS, plain
from distill_bench.metrics import METRICS
from distill_bench.planning import typed
from distill_bench.reporting.results import parse_result
from tests.conftest import REPOSITORY, smoke_words

METHODS = sorted(method_files())
AT_HAND = [name for name in METHODS if not method_module(name).INFO.published]  # runs anywhere
RunCell = Callable[..., dict[str, Any]]


def file_of(name: str) -> dict[str, Any]:
    """A method's yaml, without the other groups' options that it asks for."""
    content = OmegaConf.to_container(OmegaConf.load(conf_dir() / "method" / f"{name}.yaml"))
    assert isinstance(content, dict)
    content.pop("defaults", None)
    return {str(key): value for key, value in content.items()}


def product(result: dict[str, Any], roots: Path) -> list[torch.Tensor]:
    """Every tensor of the run's product, in order, but for its transform and its times."""
    made = result["product"]
    tree = load_tensors(roots / "products" / made["id"] / made["artifacts"]["product"])
    tensors: list[torch.Tensor] = []

    def visit(node: Any) -> None:
        if isinstance(node, torch.Tensor):
            tensors.append(node)
        elif isinstance(node, (dict, list)):
            for child in node.values() if isinstance(node, dict) else node:
                visit(child)

    visit({key: value for key, value in tree.items() if key not in ("transform", "seconds")})
    return tensors


@pytest.mark.parametrize("name", METHODS)
def test_config_file_and_config_class_agree(name: str) -> None:
    module, content = method_module(name), file_of(name)
    content.pop("profiles", None)
    assert content["name"] == name
    assert list(content) == [field.name for field in dataclasses.fields(module.Config)]
    assert plain(typed(module.Config, content, "method")) == plain(module.Config())


@pytest.mark.parametrize("name", METHODS)
def test_the_bounds_of_profiles_are_bounds_of_fields(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(method_module(name).Config)}
    for profile, bounds in file_of(name).get("profiles", {}).items():
        assert profile in group_options("profile")
        assert set(bounds) <= fields
        assert all(isinstance(bound, (int, float)) and bound > 0 for bound in bounds.values())


@pytest.mark.parametrize("name", METHODS)
def test_every_field_of_a_config_says_what_it_is(name: str) -> None:
    text = (conf_dir() / "method" / f"{name}.yaml").read_text()
    assert text.startswith("#")
    for line in text.splitlines():
        if re.match(r"[a-z_]+:", line) and not line.startswith("name:"):
            assert "#" in line, line


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_who_it_is(name: str) -> None:
    info = method_module(name).INFO
    assert info.summary and len(info.summary) < 90 and "\n" not in info.summary
    assert info.paper
    assert {*info.uses, *info.uses_when} <= set(GROUPS)
    assert info.task in task_names()
    assert method_module(name).__doc__


def test_methods_configs_and_tests_agree_one_to_one() -> None:
    assert set(METHODS) == set(group_options("method"))
    tests = {
        file.stem.removeprefix("test_") for file in (REPOSITORY / "tests" / "methods").glob("*/test_*.py")
    }
    assert set(METHODS) == tests


@pytest.mark.parametrize("name", AT_HAND)
def test_a_smoke_run_gives_a_valid_product_and_a_valid_result(
    name: str, run_cell: RunCell, tmp_path: Path
) -> None:
    result = run_cell(*smoke_words(name))
    folder = tmp_path / "runs" / result["run_id"]
    assert json.loads((folder / "result.json").read_text()) == result
    read = parse_result(result, folder)
    assert read.method == name
    assert {measure.name.split("/")[0] for measure in read.measures} <= set(METRICS)
    made = tmp_path / "products" / result["product"]["id"]
    for file in result["product"]["artifacts"].values():
        assert (made / file).stat().st_size > 0
    for place in (folder, made):
        assert not (place / "unfinished").exists()
        assert not list(place.glob("*checkpoint*"))
    assert {"command", "device", "python", "torch", "commit", "seconds"} <= set(result["provenance"])
    assert str(tmp_path) not in json.dumps(result)


@pytest.mark.parametrize("name", AT_HAND)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    name: str, run_cell: RunCell, tmp_path: Path
) -> None:
    words, roots = smoke_words(name), (tmp_path / "a", tmp_path / "b")
    first, second = (product(run_cell(*words, roots=root), root) for root in roots)
    other = product(run_cell(*words, "seed=1", roots=roots[0]), roots[0])
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    if name not in (
        "herding",
        "kcenter",
    ):  # whose features are trained, so that few steps may select the same
        assert any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(first, other, strict=True))
