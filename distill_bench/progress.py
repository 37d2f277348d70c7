"""How far a long step is and how long it still takes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Bar", "progress_bar"]


class Bar(Protocol):
    """Something that can be told how many steps are done."""

    def update(self, done: int) -> None:
        """`done` steps of the total are behind us."""
        ...


class _Lines:
    """Progress for logs: one line when the first estimate is sound, then one every `every` seconds."""

    def __init__(self, name: str, total: int, start: int, every: float = 15.0) -> None:
        self.name, self.total, self.start, self.every = name, total, start, every
        self.began = self.last = time.perf_counter()

    def update(self, done: int) -> None:
        now = time.perf_counter()
        if now - self.last < self.every:
            return
        self.last = now
        rate = (done - self.start) / (now - self.began)
        left = f"{(self.total - done) / rate:.0f} s left" if rate > 0 else "time left unknown"
        print(f"{self.name} {done}/{self.total}  {rate:.1f}/s  {left}", file=sys.stderr, flush=True)


class _Rich:
    """Progress for people."""

    def __init__(self, name: str, total: int, start: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description:>12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, Remaining(), console=Console(stderr=True), refresh_per_second=4)
        self.task = self.progress.add_task(name, total=total, completed=start)
        self.progress.start()

    def update(self, done: int) -> None:
        self.progress.update(self.task, completed=done)


@contextmanager
def progress_bar(name: str, total: int, start: int = 0) -> Iterator[Bar]:
    """A bar on standard error for `total` steps, of which `start` are already done."""
    if not sys.stderr.isatty():
        yield _Lines(name, total, start)
        return
    bar = _Rich(name, total, start)
    try:
        yield bar
    finally:
        bar.progress.stop()
