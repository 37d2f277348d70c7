"""How far a long step is and how long it still takes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Bar", "Phase", "duration", "pace", "progress_bar"]


class Bar(Protocol):
    """Something that can be told how many steps are done."""

    def update(self, done: int) -> None:
        """`done` steps of the total are behind us."""
        ...


class Phase:
    """Loops that users see as one: the networks of an evaluation. Estimates are for all of them.

    `networks` of them are trained, one after another or some together; all take equally many steps.
    """

    def __init__(self, name: str, networks: int) -> None:
        self.name, self.networks, self.done = name, networks, 0
        self.lines: _Lines | None = None

    @contextmanager
    def part(self, networks: int, steps: int, start: int = 0) -> Iterator[Bar]:
        """A bar for one of the loops, which trains `networks` of them in `steps`, `start` of them done."""
        shown = _Part(self, networks, steps)
        if sys.stderr.isatty():
            with progress_bar(self.title(networks), steps, start) as bar:
                yield bar
        else:
            self.lines = self.lines or _Lines(self.name, self.networks * steps, 0)
            self.lines.start += networks * start  # what was done before tells nothing of the pace
            yield shown
        self.done += networks

    def title(self, networks: int) -> str:
        """``evaluation 2/5``: which network is trained; the name alone where all are trained together."""
        return self.name if networks == self.networks else f"{self.name} {self.done + 1}/{self.networks}"


class _Part:
    """One loop of a phase, counted in steps of single networks."""

    def __init__(self, phase: Phase, networks: int, steps: int) -> None:
        self.phase, self.networks, self.before = phase, networks, phase.done * steps

    def update(self, done: int) -> None:
        assert self.phase.lines is not None
        self.phase.lines.update(self.before + self.networks * done)


class _Lines:
    """Progress for logs: how long it will take, once a few seconds have shown it, then ever fewer lines."""

    def __init__(self, name: str, total: int, start: int, first: float = 4.0, longest: float = 600.0) -> None:
        self.name, self.total, self.start = name, total, start
        self.began = self.last = time.perf_counter()
        self.wait, self.longest = first, longest

    def update(self, done: int) -> None:
        now = time.perf_counter()
        if now - self.last < self.wait or done == self.total:
            return
        self.last, self.wait = now, min(2 * max(self.wait, 30.0), self.longest)
        seconds = (now - self.began) / max(done - self.start, 1)
        left = duration((self.total - done) * seconds)
        print(
            f"{self.name} {done}/{self.total}, {pace(seconds)}, about {left} left",
            file=sys.stderr,
            flush=True,
        )


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3.4 h, 5.2 days."""
    for unit, size, digits in (("days", 86_400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size or (unit == "h" and seconds >= 5400):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def pace(seconds: float) -> str:
    """Seconds a step in words: 12.3 steps/s, or 2.1 s a step."""
    return f"{seconds:.1f} s a step" if seconds > 1 else f"{1 / max(seconds, 1e-9):.1f} steps/s"


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
