"""On what, with what and when a result was made."""

from __future__ import annotations

import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from distill_bench import __version__
from distill_bench.device import describe_device

__all__ = ["Clock", "environment"]


class Clock:
    """When something was begun, and how long it took: over this process alone."""

    def __init__(self) -> None:
        self.started, self._began = datetime.now(UTC), time.perf_counter()

    def facts(self) -> dict[str, Any]:
        """Start (UTC) and seconds so far."""
        seconds = round(time.perf_counter() - self._began, 2)
        return {"started": self.started.isoformat(timespec="seconds"), "seconds": seconds}


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and versions."""
    return {
        "device": describe_device(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "distill_bench": __version__,
        "commit": _commit(),
    }


def _commit() -> str:
    """The checkout's commit, with a mark if files differ from it; empty when this is not a checkout."""
    top = Path(__file__).resolve().parent.parent
    if not (top / ".git").exists():
        return ""
    name = _git(top, "describe", "--always", "--abbrev=10")
    changed = _git(top, "status", "--porcelain", "--untracked-files=no")
    return f"{name}-dirty" if changed else name


def _git(top: Path, *words: str) -> str:
    """What git prints of the checkout `top`; nothing is locked, since other commands may be at work there."""
    line = ["git", "--no-optional-locks", "-C", str(top), *words]
    try:
        return subprocess.run(line, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
