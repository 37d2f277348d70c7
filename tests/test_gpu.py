"""What only a CUDA device shows: the same run there, and its speed against the plain formulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import distill_bench

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

WORDS = ["dataset=digits", "ipc=2", "profile=smoke"]


@pytest.mark.parametrize("method", ["random", "herding", "kcenter", "dm", "datadam"])
def test_every_image_method_runs_on_the_device(run_cell: Callable[..., dict[str, Any]], method: str) -> None:
    result = run_cell(f"method={method}", *WORDS, "device=cuda")
    assert "cpu" not in result["provenance"]["device"]


def test_random_selection_on_the_device_trains_networks_as_good_as_on_the_cpu(
    run_cell: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    words = ["method=random", "dataset=digits", "ipc=10", "student.width=32", "protocol.epochs=150"]
    accuracies = []
    for device in ("cpu", "cuda"):
        result = run_cell(*words, f"device={device}", roots=tmp_path / device)
        (measure,) = [m for m in result["measures"] if m["name"] == "accuracy"]
        accuracies.append(sum(measure["values"]) / len(measure["values"]))
    assert accuracies[1] == pytest.approx(accuracies[0], abs=5)


def test_the_same_seed_gives_the_same_bits_on_the_device(
    run_cell: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    products = []
    for part in "ab":
        result = run_cell("method=random", *WORDS, "device=cuda", roots=tmp_path / part)
        products.append(distill_bench.load(tmp_path / part / "runs" / result["run_id"]).inputs())
    assert torch.equal(*products)


def test_a_datadam_step_is_three_times_as_fast_as_the_plain_formulation() -> None:
    from scripts.benchmarks.matching_step import run

    first = run()[0]
    assert first["equal"]
    assert first["ratio"] >= 3
