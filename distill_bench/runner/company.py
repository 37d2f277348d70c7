"""The moment at which process 0 begins to train, and the others with it (see `together`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distill_bench import processes

__all__ = ["NOTHING", "TRAIN", "expected", "joined", "training"]

NOTHING, TRAIN = 0, 1  # what process 0 says: it needs no help (any more), or it begins to train

_state = {"joined": False}


def expected(own: bool) -> bool:
    """Whether others wait for this training, which is that of the run's `own` product."""
    return own and processes.waiting() and not _state["joined"]


def joined() -> bool:
    """Whether the others have been told to train."""
    return _state["joined"]


@contextmanager
def training(own: bool) -> Iterator[None]:
    """Train with the other processes while inside, if they wait for it."""
    if not expected(own):
        yield
        return
    _state["joined"] = True
    processes.tell(TRAIN)
    with processes.together():
        yield
