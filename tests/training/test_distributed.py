"""Laws of training by several processes: the result is that of one, the same in all; process 0 decides."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from distill_bench import processes
from distill_bench.training.distributed import part_of
from tests.conftest import REPOSITORY
from tests.training.workers import CASES, STOP, trained

Results = list[dict[str, Any]]  # of each process


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What two processes on CPUs found, started as a user starts them."""
    folder = tmp_path_factory.mktemp("processes")
    launch = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module"]
    words = ["-m", "accelerate.commands.launch", *launch, "tests.training.workers", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(2)]


def assert_close(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=tolerance, msg=name)


def test_there_were_two(results: Results) -> None:
    assert [each["world"] for each in results] == [2, 2]


@pytest.mark.parametrize("case", list(CASES))
def test_two_processes_train_the_network_of_one(results: Results, case: str) -> None:
    assert_close(results[0][case], trained(CASES[case]), 1e-7)
    assert_close(results[1][case], results[0][case], 0)


def test_all_begin_as_process_0_begins(results: Results) -> None:
    for each in results:
        assert_close(each["other weights to begin with"], results[0]["batch norm"], 0)


def test_all_stop_where_process_0_is_asked_to_and_go_on_bit_for_bit(results: Results) -> None:
    first, second = (each["stopped"] for each in results)
    assert first["said"] == f"train {STOP + 1}/9"
    assert second["said"] == "process 0 stopped"
    for each in (first, second):
        assert_close(each["result"], results[0]["batch norm"], 0)
        assert_close(each["again"], results[0]["batch norm"], 0)


def test_process_0_alone_writes(results: Results) -> None:
    first, second = (each["stopped"] for each in results)
    assert first["written"] == ["checkpoint-train.safetensors"]
    assert second["written"] == []
    assert first["logged"] == list(range(STOP + 1))
    assert second["logged"] == []


def test_one_process_can_work_alone_while_others_wait(results: Results) -> None:
    assert_close(results[0]["alone"], trained(CASES["batch norm"]), 0)
    assert results[1]["alone"] is None


def test_one_process_is_process_0_of_one_and_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in ({}, {"WORLD_SIZE": "1"}):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        processes.start()
        processes.barrier()
        assert (processes.world(), processes.number(), processes.is_writer()) == (1, 0, True)


def test_to_find_that_out_loads_neither_torch_nor_accelerate() -> None:
    code = (
        "import sys; from distill_bench import processes; processes.start(); processes.world(); "
        "assert not {'torch', 'accelerate'} & sys.modules.keys()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_the_parts_of_a_batch_are_its_images_once_or_in_every_process(
    monkeypatch: pytest.MonkeyPatch, size: int, count: int
) -> None:
    monkeypatch.setattr("distill_bench.training.distributed.world", lambda: count)
    parts = []
    for here in range(count):
        monkeypatch.setattr("distill_bench.training.distributed.number", lambda here=here: here)
        parts.append(part_of(size))
        assert part_of(size, whole=True).at == slice(0, size)
    images = [index for part in parts for index in range(size)[part.at]]
    assert sorted(images) == (list(range(size)) if size >= count else sorted([*range(size)] * count))
    assert {part.total for part in parts} == {len(images)}
    lengths = [part.at.stop - part.at.start for part in parts]
    assert max(lengths) - min(lengths) <= 1
