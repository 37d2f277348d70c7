"""Several processes that train one network together, as `accelerate launch` or torchrun start them.

Process 0 decides and writes; the others do their share of its work. One process alone is process 0 of one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from distill_bench.errors import require

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = [
    "alone",
    "barrier",
    "control",
    "helps",
    "is_writer",
    "number",
    "several",
    "start",
    "tell",
    "together",
    "waiting",
    "world",
]

PATIENCE = timedelta(days=1)  # how long a process waits for the others

_state: dict[str, Any] = {"alone": 0, "control": None}


def start(device: str = "auto") -> None:
    """Join the other processes, if this one was started together with others; at once if not.

    `device` as on the command line: on CPUs processes talk over gloo, else over NCCL, each with the GPU of
    its number on this machine. UserError if there are more processes than GPUs.
    """
    if not several() or _joined() is not None:
        return
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if not on_cpu:
        count, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        require(local <= count, "processes on this machine", local, f"at most {count}, one for each GPU")
    PartialState(cpu=on_cpu, timeout=PATIENCE)
    control()


def world() -> int:
    """How many processes work together here."""
    distributed = _joined()
    return 1 if distributed is None or _state["alone"] else int(distributed.get_world_size())


def number() -> int:
    """The number of this process, from 0."""
    distributed = _joined()
    return 0 if distributed is None or _state["alone"] else int(distributed.get_rank())


def is_writer() -> bool:
    """Whether this process writes files and speaks to the user."""
    return number() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if world() > 1:
        import torch.distributed as distributed

        distributed.barrier(group=control())


@contextmanager
def alone() -> Iterator[None]:
    """Work by oneself while inside, whatever the others do: for what one process makes and the others wait
    for."""
    _state["alone"] += 1
    try:
        yield
    finally:
        _state["alone"] -= 1


@contextmanager
def together() -> Iterator[None]:
    """Work with the others while inside, although `alone` was entered around it."""
    before, _state["alone"] = _state["alone"], 0
    try:
        yield
    finally:
        _state["alone"] = before


def waiting() -> bool:
    """Whether there are other processes, who wait while this one works alone."""
    return _joined() is not None and _state["alone"] > 0


def tell(word: int) -> int:
    """What process 0 says, in every process; the others' own word does not count."""
    import torch
    import torch.distributed as distributed

    said = torch.tensor([word])
    distributed.broadcast(said, 0, group=control())
    return int(said)


def several() -> bool:
    """Whether this process was started together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def helps() -> bool:
    """Whether this process was started to help another, which alone speaks to the user."""
    return several() and os.environ.get("RANK", "0") != "0"


def control() -> ProcessGroup:
    """The group for what concerns no device: over gloo, in the memory of the host. All processes ask for it
    in the same order."""
    if _state["control"] is None:
        import torch.distributed as distributed

        _state["control"] = distributed.new_group(backend="gloo", timeout=PATIENCE)
    group: ProcessGroup = _state["control"]
    return group


def _joined() -> Any:
    """The module `torch.distributed` once the processes are joined; it is not loaded to find out."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
