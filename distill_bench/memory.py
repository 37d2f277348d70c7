"""Memory that a pass frees stays with the process for the next pass; and errors that mean there is too
little."""

from __future__ import annotations

import ctypes
from functools import cache

__all__ = ["keep_freed_memory", "lacks_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of <malloc.h>
NEVER = (1 << 31) - 1
LARGEST = 1 << 30  # bytes of an allocation that is still taken from what was freed


@cache
def keep_freed_memory() -> bool:
    """From now on, this process keeps what it frees; whether the C library (glibc) can be told to.

    Otherwise glibc gives large blocks back to the system and gets them anew in every pass, one page fault for
    4 KiB: a step of DataDAM with batch norm, whose maps are of whole batches, then takes twice as long (see
    `scripts/benchmarks/matching_step`). Results are the same, and the largest use of memory as well; only the
    use between two peaks does not fall. Forked processes inherit it; others call it as they choose a device.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    used_again = mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_MAX, 0)  # older versions refuse the first
    return bool(used_again and mallopt(TRIM_THRESHOLD, NEVER))


def lacks_memory(error: Exception) -> bool:
    """Whether an error of Python, numpy or torch says that memory could not be had."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, on a GPU
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
