"""Fair timing of functions: interleaved, warmed up, medians; if need be in processes of their own."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Self

import torch

__all__ = ["Apart", "compared", "median_seconds"]


class Apart:
    """The function that `make(*arguments)` gives, in a process of its own whose C library is as it comes.

    Ours keeps what it frees (`keep_freed_memory`); a published program does not. The process lives within
    `with`.
    """

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: Any) -> None:
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()

    def __call__(self) -> float:
        """Call the function there; the seconds that it took."""
        self._pipe.send(True)
        return float(self._pipe.recv())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of a process that is gone
            self._pipe.send(False)
        self._process.join()


def _serve(pipe: Connection, make: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> None:
    function = make(*arguments)
    pipe.send(0)
    while pipe.recv():
        pipe.send(_seconds(function))


def compared(
    ours: Callable[[], object],
    reference: Callable[[], object],
    kept: Callable[[], object] | None = None,
    *,
    repeats: int,
    warmup: int = 1,
) -> dict[str, float]:
    """Seconds and the ratio of one row; `kept` is the reference in our process, if it is `Apart`."""
    functions = [ours, reference, *([kept] if kept else [])]
    seconds, of_reference, *of_kept = median_seconds(functions, repeats=repeats, warmup=warmup)
    timed = {"ours_seconds": seconds, "reference_seconds": of_reference, "ratio": of_reference / seconds}
    if of_kept:
        timed |= {"reference_kept_seconds": of_kept[0], "ratio_to_kept": of_kept[0] / seconds}
    return timed


def median_seconds(functions: list[Callable[[], object]], repeats: int, warmup: int = 1) -> list[float]:
    """Median seconds a call of each function, called in turn so that a drift of the machine hits all
    alike."""
    took: list[list[float]] = [[] for _ in functions]
    for repeat in range(warmup + repeats):
        for function, times in zip(functions, took, strict=True):
            seconds = function() if isinstance(function, Apart) else _seconds(function)
            if repeat >= warmup:
                times.append(seconds)
    return [median(times) for times in took]


def _seconds(function: Callable[[], object]) -> float:
    """Seconds of a call: of a CPU's one thread, and of the processes it starts, as other programs lengthen
    only those of the wall clock."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    clock = _used if alone else time.perf_counter
    _synchronise()
    began = clock()
    function()
    _synchronise()
    return clock() - began


def _used() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
