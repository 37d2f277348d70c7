"""Printing that never ends a run: its result is saved, whatever became of the terminal."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from rich.console import Console

__all__ = ["Terminal", "standard_console"]


class Terminal(Console):
    """A console that goes quiet when its output is closed or full."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console` does; an output that takes no more is left alone from then on."""
        try:
            super().print(*objects, **options)
        except OSError:
            self._give_up()

    def on_broken_pipe(self) -> None:
        """The reader has gone: nothing is wrong with the run."""
        self._give_up()

    def _give_up(self) -> None:
        self.quiet = True
        if self.file is sys.stdout:
            _discard(sys.stdout)


def standard_console() -> Terminal:
    """Standard output: as wide as the terminal, in a file wide enough for a paper's table.

    A letter that the output's encoding has not becomes a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Terminal(highlight=False)
    return console if console.is_terminal or "COLUMNS" in os.environ else Terminal(highlight=False, width=160)


def _discard(stream: Any) -> None:
    """Let what is left in the stream's buffer go nowhere when the process ends."""
    try:
        target = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, target)
    os.close(nowhere)
