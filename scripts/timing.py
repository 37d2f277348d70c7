"""Fair timing of two functions: interleaved, warmed up, medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

__all__ = ["median_seconds"]


def median_seconds(functions: list[Callable[[], object]], repeats: int, warmup: int = 1) -> list[float]:
    """Median seconds a call of each function, called in turn so that a drift of the machine hits all
    alike."""
    took: list[list[float]] = [[] for _ in functions]
    for repeat in range(warmup + repeats):
        for function, times in zip(functions, took, strict=True):
            _synchronise()
            began = time.perf_counter()
            function()
            _synchronise()
            if repeat >= warmup:
                times.append(time.perf_counter() - began)
    return [median(times) for times in took]


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
