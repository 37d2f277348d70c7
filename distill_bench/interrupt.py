"""Ctrl-C and SIGTERM as a request: a loop finishes its step, leaves a checkpoint, and says how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupt", "Interrupted"]


class Interrupted(Exception):
    """The run was asked to stop and left a checkpoint; the message says where."""


class Interrupt:
    """Remembers that the user asked to stop.

    Inside `deferred` (one step of a loop) the first signal only sets `requested`; anywhere else, and at the
    second signal, it raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self._in_step = False

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
