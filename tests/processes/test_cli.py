"""The command line: help, one clear line and exit code 2 for wrong input, and nothing heavy before work
starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, command_environment

Command = Callable[..., "subprocess.CompletedProcess[str]"]

WRONG = {
    "unknown method": (["method=datadm"], ["method=datadm", "did you mean 'datadam'"]),
    "unknown data set": (["dataset=cifar01"], ["dataset=cifar01", "did you mean 'cifar10"]),
    "unknown option of another group": (["profile=fats"], ["profile=fats", "did you mean 'fast'"]),
    "one unknown option in a sweep": (["-m", "method=dm,datadm"], ["method=datadm", "did you mean"]),
    "no ipc size": (["ipc=0"], ["ipc=0", "1 or more"]),
    "nothing chosen": (["method="], ["method=: nothing chosen", "datadam"]),
    "a sweep without -m": (["method=dm,random"], ["method=dm,random", "add -m"]),
    "unknown group": (["metod=dm"], ["metod", "did you mean 'method'"]),
    "unknown key": (["method.iteratons=3"], ["method.iteratons", "did you mean 'iterations'"]),
    "unknown added key": (["+method.epochs=3"], ["method.epochs", "unknown key"]),
    "wrong type": (["method.iterations=abc"], ["method.iterations=abc", "Integer"]),
    "wrong choice": (["method.init=rael"], ["method.init=rael", "real, noise, herding, kcenter"]),
    "out of range": (["method.task_balance=-1"], ["method.task_balance=-1", ">= 0"]),
    "ipc above a class": (
        ["ipc.images_per_class=5000"],
        ["ipc.images_per_class=5000", "smallest class", "digits"],
    ),
    "unused group": (["method=oggmr", "ipc=10"], ["method=oggmr does not use ipc", "mixture"]),
    "unused group's field": (["method=oggmr", "dataset.zca=true"], ["does not use dataset"]),
    "bad time limit": (["time_limit=9 minutes"], ["time_limit=9 minutes", "90, 9m, 1.5h"]),
    "bad device": (["device=gpu"], ["device=gpu", "auto, cpu, cuda"]),
    "absent data": (
        ["dataset=imagefolder", "dataset.folder=no/such/folder"],
        ["imagefolder", "no/such/folder"],
    ),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_one_clear_line_and_exit_code_2(
    command: Command, words: list[str], said: list[str]
) -> None:
    done = command(*words)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in said:
        assert part in lines[0]


def test_asking_for_cuda_where_there_is_none_says_so(command: Command) -> None:
    done = command("device=cuda:99", "profile=smoke")
    assert done.returncode == 2
    assert "device=cuda:99: this machine has" in done.stderr.strip().splitlines()[-1]


def test_help_explains_the_groups_and_lists_methods_by_task(command: Command) -> None:
    text = command("--help").stdout
    for group in (
        "dataset=",
        "ipc=",
        "student=",
        "protocol=",
        "profile=",
        "tracker=",
        "experiment=",
        "mixture=",
    ):
        assert group in text
    assert text.index("dataset_distillation") < text.index("datadam  ") < text.index("mixture_reduction")
    assert text.index("mixture_reduction") < text.index("oggmr  ")


def test_help_for_a_method_shows_its_settings(command: Command) -> None:
    text = command("method=datadam", "--help").stdout
    assert "task_balance: 0.01" in text
    assert "2310.00093" in text


@pytest.mark.parametrize("words", [["--help"], ["method.power=0"], ["method=oggmr", "ipc=10"]], ids=" ".join)
def test_help_and_config_errors_do_not_import_torch(tmp_path: Path, words: list[str]) -> None:
    line = [sys.executable, "-X", "importtime", str(REPOSITORY / "run.py"), *words]
    done = subprocess.run(
        line, cwd=tmp_path, env=command_environment(tmp_path), capture_output=True, text=True, check=False
    )
    imported = {
        row.rpartition("|")[2].strip() for row in done.stderr.splitlines() if row.startswith("import time:")
    }
    assert "distill_bench.catalogue" in imported
    heavy = {"torch", "torch._C", "numpy", "scipy", "sklearn", "pandas", "matplotlib"}
    assert not heavy & {name for name in imported if name != "torch"}


def test_a_classification_run_does_not_import_what_it_does_not_use(tmp_path: Path) -> None:
    words = ["method=ce", "student=mlp", "profile=smoke", "dataset=digits", "threads=1"]
    line = [sys.executable, "-X", "importtime", str(REPOSITORY / "run.py"), *words]
    done = subprocess.run(
        line, cwd=tmp_path, env=command_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = {
        row.rpartition("|")[2].strip() for row in done.stderr.splitlines() if row.startswith("import time:")
    }
    assert "torch.nn" in imported
    assert not {"diffusers", "transformers", "accelerate", "timm"} & imported


def test_nothing_is_left_behind_by_wrong_input(command: Command, tmp_path: Path) -> None:
    command("method.power=0")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("protocol.students=[alexnt]", ["alexnt", "did you mean 'alexnet'"]),
        ("student.name=convnte", ["convnte", "did you mean 'convnet'"]),
        ("student.depth=7", ["student.depth=7"]),
    ],
)
def test_a_network_that_cannot_be_built_is_named_before_the_distillation(
    command: Command, tmp_path: Path, word: str, said: list[str]
) -> None:
    done = command("dataset=digits", "ipc=1", "profile=smoke", word)
    assert done.returncode == 2
    assert all(part in done.stderr for part in said)
    assert not list(tmp_path.glob("runs/*/checkpoint-*"))
