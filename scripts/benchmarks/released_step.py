"""One step of DataDAM as it was released, with batch norm and power 1, against the reference formulation of
`matching_step`: both give the network whole batches, whose maps are far larger than any cache."""

from __future__ import annotations

from typing import Any

from distill_bench.device import choose_device
from scripts.benchmarks.matching_step import against_reference


def run() -> list[dict[str, Any]]:
    """At the paper's sizes."""
    return [against_reference("datadam released", 64, 128, choose_device("auto"))]
