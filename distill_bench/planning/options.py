"""The top level of the config: what belongs to no group."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from distill_bench.errors import require

__all__ = ["Options"]

_LIMIT = r"((?P<count>[0-9]+([.][0-9]+)?)(?P<unit>[smh]?))?"
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


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
    tables_root: str = "tables"
    checkpoint_seconds: float = 30.0
    time_limit: str = ""
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
        written = re.fullmatch(_LIMIT, self.time_limit)
        require(bool(written), "time_limit", self.time_limit, "a number, with s, m or h: 90, 9m, 1.5h")

    @property
    def limit(self) -> float:
        """Seconds after which a command stops at a checkpoint; infinite without a `time_limit`."""
        written = re.fullmatch(_LIMIT, self.time_limit)
        assert written
        return float(written["count"]) * _SECONDS[written["unit"]] if written["count"] else math.inf
