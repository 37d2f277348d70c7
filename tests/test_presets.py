"""Presets: a method's settings under one name; the command line still wins, and the profile still binds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from omegaconf import OmegaConf

from distill_bench.catalogue import conf_dir, group_options, method_files
from distill_bench.errors import UserError
from distill_bench.groups import Norm
from distill_bench.planning import Plan

Command = Callable[..., "subprocess.CompletedProcess[str]"]
MakePlan = Callable[..., Plan]
PRESETS = [name for name in group_options("preset") if name != "none"]
CIFAR = ["dataset=cifar10", "ipc=10"]


def facts(plan: Plan) -> dict[str, object]:
    """What paper and released code of DataDAM disagree on."""
    return {
        "power": plan.product.config.power,
        "iterations": plan.product.config.iterations,
        "norm": plan.product.groups["student"].norm,
        "zca": plan.product.groups["dataset"].zca,
    }


def test_options_in_folders_are_named_with_them() -> None:
    assert {"datadam/paper", "datadam/repo", "igds/unguided", "none"} <= set(group_options("preset"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_chooses_its_method_and_says_why(plan: MakePlan, preset: str) -> None:
    made = plan(f"preset={preset}", *CIFAR)
    assert made.product.name == preset.split("/")[0]
    assert made.product.name in method_files()
    text = (conf_dir() / "preset" / f"{preset}.yaml").read_text()
    assert text.startswith("# @package _global_\n# ")
    assert OmegaConf.select(OmegaConf.create(text), "method")


def test_paper_and_repo_are_what_each_says(plan: MakePlan) -> None:
    paper, repo = (plan(f"preset=datadam/{name}", *CIFAR) for name in ("paper", "repo"))
    assert facts(paper) == {"power": 4.0, "iterations": 8000, "norm": Norm.instance, "zca": True}
    assert facts(repo) == {"power": 1.0, "iterations": 20_000, "norm": Norm.batch, "zca": False}
    assert (repo.product.groups["protocol"].epochs, repo.product.groups["protocol"].batch_size) == (1800, 64)
    assert paper.product.config.batch_real == repo.product.config.batch_real == 64
    assert (repo.axes["distiller"], repo.protocol) == ("convnet_bn", "datadam")


def test_no_preset_is_what_there_was_without_presets(plan: MakePlan) -> None:
    words = ["method=datadam", *CIFAR]
    assert plan(*words).run_id == plan(*words, "preset=none").run_id
    assert plan(*words, "preset=datadam/paper").run_id == plan(*words).run_id
    assert plan(*words, "preset=datadam/repo").run_id != plan(*words).run_id


def test_settings_of_a_cell_that_a_preset_does_not_name_stay(plan: MakePlan) -> None:
    assert plan("preset=datadam/repo", "dataset=cifar10", "ipc=100").product.config.lr_image == 10


def test_the_command_line_wins_over_a_preset(plan: MakePlan) -> None:
    words = ["method.power=2", "dataset.zca=true", "student=vgg11", "protocol=dc", "protocol.nets=3"]
    made = plan("preset=datadam/repo", *CIFAR, *words)
    assert made.product.config.power == 2
    assert made.product.groups["dataset"].zca
    assert (made.axes["distiller"], made.protocol) == ("vgg11", "dc")
    assert made.product.groups["protocol"].nets == 3


def test_a_profile_bounds_a_preset(plan: MakePlan) -> None:
    made = plan("preset=datadam/repo", *CIFAR, "profile=smoke")
    assert (made.product.config.iterations, made.product.groups["protocol"].nets) == (4, 2)
    assert made.product.config.power == 1
    assert (
        plan("preset=datadam/repo", *CIFAR, "profile=smoke", "method.iterations=9").product.config.iterations
        == 9
    )


def test_a_preset_of_another_method_is_one_line(plan: MakePlan) -> None:
    with pytest.raises(
        UserError, match=r"^preset=datadam/repo: settings of method=datadam, not of method=dm$"
    ):
        plan("preset=datadam/repo", "method=dm", *CIFAR)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["preset=datadam/repo", "method=dm"], ["preset=datadam/repo", "not of method=dm"]),
        (["preset=datadam/rpo"], ["preset=datadam/rpo", "did you mean 'datadam/repo'"]),
        (["preset=datadam/repo,datadam/paper"], ["add -m"]),
        (["preset="], ["preset=: nothing chosen", "datadam/paper, datadam/repo"]),
    ],
    ids=["another method", "misspelt", "several", "none given"],
)
def test_a_wrong_preset_is_one_clear_line_and_exit_code_2(
    command: Command, words: list[str], said: list[str]
) -> None:
    done = command(*words)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert all(part in lines[0] for part in said)


def test_help_lists_the_presets(command: Command) -> None:
    text = command("--help").stdout
    assert "preset=" in text
    assert "datadam/paper, datadam/repo" in text


def test_a_sweep_over_presets_runs_each(command: Command) -> None:
    done = command("-m", "preset=datadam/paper,datadam/repo", "dataset=digits", "ipc=1", "profile=smoke")
    assert done.returncode == 0, done.stderr
    assert "[1/2] preset=datadam/paper: accuracy" in done.stdout
    assert "[2/2] preset=datadam/repo: accuracy" in done.stdout
    assert "convnet_bn" in done.stdout
