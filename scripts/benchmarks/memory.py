"""Peak memory of a whole CIFAR-10 run at 50 images per class, as the operating system counts it."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RUN = Path(__file__).resolve().parent.parent.parent / "run.py"
WORDS = [
    "dataset=cifar10",
    "ipc=50",
    "profile=smoke",
    "student.width=128",
    "protocol.epochs=1",
    "protocol.nets=1",
    "method.iterations=2",
]


def run() -> list[dict[str, Any]]:
    """One row a method, at the paper's width and real batch; few steps, since the peak does not grow with
    steps."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        roots = [f"{name}_root={folder}/{name}" for name in ("runs", "cache")]
        for method, batch_real in (("datadam", 64), ("dm", 256)):
            line = [
                sys.executable,
                str(RUN),
                f"method={method}",
                f"method.batch_real={batch_real}",
                *WORDS,
                *roots,
            ]
            subprocess.run(line, check=True, capture_output=True)
            peak = (
                resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            )  # KiB to GiB; the largest child so far
            rows.append({"name": f"{method} cifar10 ipc=50", "peak_gib": round(peak, 2), "target_gib": 4})
    return rows
