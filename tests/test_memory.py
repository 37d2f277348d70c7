"""Memory that is freed is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distill_bench.interrupt import Interrupt
from distill_bench.memory import lacks_memory
from distill_bench.planning import Options
from distill_bench.runner import Machine
from tests.conftest import REPOSITORY

PROGRAM = """
import ctypes, resource, sys
from types import SimpleNamespace
from distill_bench import memory

if sys.argv[1] == "kept by an older library":
    real = ctypes.CDLL(None).mallopt
    older = SimpleNamespace(mallopt=lambda what, value: what != memory.MMAP_THRESHOLD and real(what, value))
    memory.ctypes = SimpleNamespace(CDLL=lambda _: older)
if sys.argv[1].startswith("kept") and not memory.keep_freed_memory():
    sys.exit(3)

def use():
    blocks = [bytearray(40 << 20) for _ in range(3)]
    for block in blocks:
        block[:: 4096] = bytes(len(block) // 4096)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Of five passes that each use 120 MiB, after a first one."""
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert page_faults("kept") < 1000 < page_faults("given back")
    assert page_faults("kept by an older library") < 1000


def test_a_run_keeps_it_however_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr("distill_bench.device.keep_freed_memory", lambda: told.append(True))
    Machine.of(Options(device="cpu"), Interrupt())  # of run.py, of sweeps, and of `distill_bench.run`
    assert told


def test_what_says_that_memory_is_lacking_is_known() -> None:
    import numpy as np
    import torch

    for allocate in (lambda: torch.empty(10**15), lambda: np.empty(10**15)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert lacks_memory(caught.value)
    assert lacks_memory(torch.cuda.OutOfMemoryError())
    assert not lacks_memory(RuntimeError("shapes do not fit")) and not lacks_memory(ValueError())
