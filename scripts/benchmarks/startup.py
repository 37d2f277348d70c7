"""`python run.py --help` and a wrong option, key or value against an empty Hydra application's `--help`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from scripts.timing import median_seconds

RUN = Path(__file__).resolve().parent.parent.parent / "run.py"

WORDS = ("--help", "method=datadm", "method.powr=1", "method.power=0")
EMPTY = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    pass

main()
"""


def run() -> list[dict[str, Any]]:
    """Whole processes, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)

        def call(*words: str) -> None:
            subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, check=False)

        *ours, reference = median_seconds(
            [*(partial(call, str(RUN), word) for word in WORDS), lambda: call(str(empty), "--help")],
            repeats=7,
        )
    return [
        {"name": word, "ours_seconds": s, "reference_seconds": reference, "ratio": reference / s}
        for word, s in zip(WORDS, ours, strict=True)
    ]
