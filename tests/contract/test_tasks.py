"""A task is its module: what it declares is whole, and a new one edits no list."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distill_bench.catalogue import method_files, task_module, task_names
from distill_bench.errors import UserError
from distill_bench.groups import GROUPS
from distill_bench.products.files import product_class
from tests.conftest import REPOSITORY

TASK = '''"""How much a set weighs."""

from distill_bench.contract import Outcome
from distill_bench.metrics import Measure

PRODUCT = "synthetic_set"
MEASURED_WITH = ("dataset", "ipc")
TABLE = {"dataset": "dataset", "ipc": "ipc"}
SMOKE = ("dataset=digits",)


def measure(ctx, product):
    return Outcome([Measure(name="storage", values=[product.inputs().numel() * 4e-6])])
'''

METHOD = '''"""The mean image of each class, as often as asked."""

from dataclasses import dataclass

import torch

from distill_bench import products
from distill_bench.contract import MethodInfo
from distill_bench.groups import IpcConfig


@dataclass(kw_only=True)
class Config:
    name: str = "mean"
    brightness: float = 1.0


INFO = MethodInfo(task="weight", paper="baseline", summary="class means", uses=("dataset", "ipc"))


def run(ctx, cfg):
    train, count = ctx.dataset.train, ctx.group(IpcConfig).images_per_class
    means = [train.images(train.class_indices[k]).mean(0) for k in range(ctx.dataset.num_classes)]
    images = cfg.brightness * torch.stack(means).repeat_interleave(count, 0)
    return products.synthetic_set(ctx.dataset, images)
'''


@pytest.mark.parametrize("name", task_names())
def test_a_task_declares_its_product_its_groups_and_its_table(name: str) -> None:
    task = task_module(name)
    assert hasattr(product_class(task.PRODUCT), "from_tensors")
    assert set(task.MEASURED_WITH) <= set(GROUPS)
    assert task.TABLE and all(isinstance(word, str) for word in (*task.TABLE, *task.SMOKE))


def test_a_toy_task_and_a_toy_method_need_only_their_own_files(tmp_path: Path) -> None:
    for name in ("distill_bench", "conf"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "run.py", tmp_path)
    (tmp_path / "distill_bench" / "reference").mkdir()
    package = tmp_path / "distill_bench"
    (package / "tasks" / "weight.py").write_text(TASK)
    (package / "methods" / "weight").mkdir()
    (package / "methods" / "weight" / "mean.py").write_text(METHOD)
    (tmp_path / "conf" / "method" / "mean.yaml").write_text(
        "# Class means.\nname: mean\nbrightness: 1.0  # factor\n"
    )
    line = [sys.executable, "run.py", "method=mean", "ipc=2", "method.brightness=0.5", "profile=smoke"]
    process = subprocess.run(
        line,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    (file,) = tmp_path.glob("runs/*/result.json")
    result = json.loads(file.read_text())
    assert (result["task"], result["axes"]) == ("weight", {"dataset": "digits", "ipc": 2})
    assert result["settings"] == {"method.brightness": 0.5}
    assert result["measures"][0]["values"] == [pytest.approx(10 * 2 * 64 * 4e-6)]


def test_two_methods_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ("one", "other"):
        (tmp_path / "methods" / family).mkdir(parents=True)
        (tmp_path / "methods" / family / "dm.py").touch()
    monkeypatch.setattr("distill_bench.catalogue._PACKAGE", tmp_path)
    with pytest.raises(UserError, match=r"method=dm: two files .*methods\.one\.dm .*methods\.other\.dm"):
        method_files()
