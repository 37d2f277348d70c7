"""Ctrl-C, SIGTERM and a time limit as a request: a loop finishes its step, leaves a checkpoint, and says how
to go on."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupt", "Interrupted", "begin_command"]

_BEGAN = "DISTILL_BENCH_BEGAN"  # seconds since 1970; processes that a command starts inherit it


class Interrupted(Exception):
    """The run was asked to stop and left a checkpoint; the message says where.

    `at_limit`: by its time limit, which is no failure.
    """

    def __init__(self, where: str, *, at_limit: bool = False) -> None:
        super().__init__(where)
        self.at_limit = at_limit


def begin_command() -> None:
    """From now on the time of this command line counts, for all its runs and for the processes it starts."""
    os.environ[_BEGAN] = str(time.time())


class Interrupt:
    """Remembers that the user asked to stop, and when the time is up.

    Inside `deferred` (one step of a loop) the first signal only sets `requested`; anywhere else, and at the
    second signal, it raises KeyboardInterrupt at once. `limit` is in seconds from the begin of the command
    line, or from now where there is none.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.requested = False
        self._in_step = False
        self._end = float(os.environ.get(_BEGAN) or time.time()) + limit

    @property
    def at_limit(self) -> bool:
        """Whether the time is up."""
        return time.time() >= self._end

    def check(self, where: str) -> None:
        """Raise `Interrupted` if the work is to stop."""
        if self.requested or self.at_limit:
            raise Interrupted(where, at_limit=not self.requested)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the step inside finish before an interrupt takes effect."""
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False

    @contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Handle SIGINT and SIGTERM while inside (only in the main thread; elsewhere this does nothing)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {kind: signal.signal(kind, self._handle) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested or not self._in_step:
            raise KeyboardInterrupt
        self.requested = True
