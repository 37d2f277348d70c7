"""Reading what may be damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from distill_bench.files import Damaged
from distill_bench.store import say

__all__ = ["named"]

T = TypeVar("T")


def named(read: Callable[[], T | None], then: str) -> T | None:
    """What `read` gives; None for something damaged, which is named with what happens next."""
    try:
        return read()
    except Damaged as damage:
        say(f"{damage}: {then}")
        return None
