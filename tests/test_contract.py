"""Every method found keeps the contract: file, config and README agree, and a smoke run gives a valid
result."""

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

from distill_bench.catalogue import conf_dir, group_options, method_files, method_module
from distill_bench.config import Plan, plain, typed
from distill_bench.files import load_tensors
from distill_bench.groups import GROUPS
from distill_bench.metrics import METRICS
from tests.conftest import REPOSITORY

METHODS = sorted(method_files())
SMALL = {
    "dataset_distillation": ["dataset=digits", "ipc=1"],
    "mixture_reduction": [
        "mixture=random",
        "mixture.components=6",
        "mixture.target=3",
        "mixture.dimension=2",
    ],
}
RunCell = Callable[..., dict[str, Any]]


def small(name: str) -> list[str]:
    """The words of a run of seconds."""
    return [f"method={name}", "profile=smoke", *SMALL[method_module(name).INFO.task]]


def product(result: dict[str, Any], roots: Path) -> list[torch.Tensor]:
    """Every tensor of the run's product, in order."""
    tree = load_tensors(roots / "runs" / result["run_id"] / result["artifacts"]["product"])
    found: list[torch.Tensor] = []

    def visit(node: Any) -> None:
        if isinstance(node, torch.Tensor):
            found.append(node)
        elif isinstance(node, (dict, list)):
            for child in node.values() if isinstance(node, dict) else node:
                visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_config_file_and_config_class_agree(name: str) -> None:
    module = method_module(name)
    content = OmegaConf.to_container(OmegaConf.load(conf_dir() / "method" / f"{name}.yaml"))
    assert isinstance(content, dict)
    content.pop("defaults", None)  # the other groups' options that a method asks for
    assert content["name"] == name
    assert list(content) == [field.name for field in dataclasses.fields(module.Config)]
    from_file = typed(module.Config, OmegaConf.create(content), "method")
    assert plain(from_file) == plain(module.Config())


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
    assert set(info.uses) <= set(GROUPS)
    assert info.task in SMALL
    assert method_module(name).__doc__


def test_methods_configs_and_tests_agree_one_to_one() -> None:
    assert set(METHODS) == set(group_options("method"))
    tests = {
        file.stem.removeprefix("test_") for file in (REPOSITORY / "tests" / "methods").glob("*/test_*.py")
    }
    assert set(METHODS) == tests


def test_the_readme_lists_exactly_the_methods_there_are() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    table = readme[readme.index("## Methods") :].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == METHODS


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_option_of_a_shared_group_is_valid_and_whole(group: str) -> None:
    for option in group_options(group):
        content = OmegaConf.load(conf_dir() / group / f"{option}.yaml")
        typed(GROUPS[group], content, group)
        assert {str(key) for key in content} == {field.name for field in dataclasses.fields(GROUPS[group])}, (
            option
        )


@pytest.mark.parametrize("name", METHODS)
def test_a_smoke_run_gives_a_valid_result(name: str, run_cell: RunCell, tmp_path: Path) -> None:
    result = run_cell(*small(name))
    folder = tmp_path / "runs" / result["run_id"]
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["method"] == name
    assert result["measures"]
    for measure in result["measures"]:
        assert measure["name"].split("/")[0] in METRICS
        assert measure["values"]
    for file in result["artifacts"].values():
        assert (folder / file).stat().st_size > 0
    assert not list(folder.glob("checkpoint-*"))
    assert {"command", "device", "python", "torch", "commit", "seconds"} <= set(result["provenance"])
    assert str(tmp_path) not in json.dumps(result)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    name: str, run_cell: RunCell, tmp_path: Path
) -> None:
    first, second = (product(run_cell(*small(name), roots=tmp_path / part), tmp_path / part) for part in "ab")
    other = product(run_cell(*small(name), "seed=1", roots=tmp_path / "a"), tmp_path / "a")
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    if name not in (
        "herding",
        "kcenter",
    ):  # whose features are trained, so that few steps may select the same
        assert any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(first, other, strict=True))


def test_where_things_lie_does_not_change_what_a_run_is(plan: Callable[..., Plan]) -> None:
    words = ["method=dm", "dataset=digits", "ipc=1"]
    here = plan(*words)
    assert here.run_id == plan(*words, "checkpoint_seconds=1", "force=true", "tracker=wandb").run_id
    assert here.run_id == plan(*words, "dataset.folder=elsewhere", "data_root=elsewhere", "device=cpu").run_id
    assert "root" not in here.command


@pytest.mark.parametrize(
    "word", ["seed=1", "method.lr_image=2", "protocol.epochs=7", "profile=fast", "ipc=5"]
)
def test_what_changes_the_result_changes_the_run(plan: Callable[..., Plan], word: str) -> None:
    words = ["method=dm", "dataset=digits", "ipc=1"]
    assert plan(*words).run_id != plan(*words, word).run_id


def test_seeds_share_a_cell(plan: Callable[..., Plan]) -> None:
    words = ["method=dm", "dataset=digits", "ipc=1"]
    assert plan(*words, "seed=0").cell_id == plan(*words, "seed=1").cell_id
    assert plan(*words).cell_id != plan(*words, "ipc=5").cell_id


def test_a_group_that_a_method_does_not_use_is_no_part_of_its_identity(plan: Callable[..., Plan]) -> None:
    assert set(plan("method=oggmr").identity) == {"method", "mixture", "seed", "profile"}


def test_a_profile_bounds_what_is_larger_and_leaves_what_the_user_set(plan: Callable[..., Plan]) -> None:
    smoke = plan("method=dm", "profile=smoke")
    assert (smoke.method.iterations, smoke.groups["protocol"].nets) == (4, 2)
    assert plan("method=dm", "profile=smoke", "method.iterations=77").method.iterations == 77
    assert plan("method=dm", "profile=fast", "method.iterations=3").method.iterations == 3


def test_a_cell_of_a_paper_changes_its_settings_and_the_command_line_wins(plan: Callable[..., Plan]) -> None:
    words = ["method=datadam", "dataset=cifar10", "ipc=10"]
    assert plan(*words).groups["dataset"].zca
    assert not plan(*words, "dataset.zca=false").groups["dataset"].zca
    assert not plan("method=dm", "dataset=cifar10", "ipc=10").groups["dataset"].zca
