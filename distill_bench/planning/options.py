"""The top level of the config: what belongs to no group."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from distill_bench.errors import require

__all__ = ["Options"]


@dataclass(kw_only=True)
class Options:
    """Where things lie, on what they run, and the seed; only the seed changes a result."""

    seed: int = 0
    device: str = "auto"
    force: bool = False
    data_root: str = "data"
    products_root: str = "products"
    runs_root: str = "runs"
    cache_root: str = "cache"
    results_root: str = "results"
    checkpoint_seconds: float = 30.0
    threads: int = 0
    experiment_name: str = ""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        cpus = os.cpu_count() or 1
        allowed = f"from 1 to {cpus}, the CPUs of this machine, or 0 for torch's own choice"
        require(0 <= self.threads <= cpus, "threads", self.threads, allowed)
        require(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, ">= 0")
        fits = self.device in ("auto", "cpu", "cuda") or re.fullmatch(r"cuda:\d{1,3}", self.device)
        require(bool(fits), "device", self.device, "auto, cpu, cuda or cuda:<index>")
