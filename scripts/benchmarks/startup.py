"""`python run.py --help` and a config error against an empty Hydra application's `--help`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.timing import median_seconds

RUN = Path(__file__).resolve().parent.parent.parent / "run.py"

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

        ours, wrong, reference = median_seconds(
            [
                lambda: call(str(RUN), "--help"),
                lambda: call(str(RUN), "method.power=0"),
                lambda: call(str(empty), "--help"),
            ],
            repeats=7,
        )
    rows = [("--help", ours), ("a config error", wrong)]
    return [
        {"name": name, "ours_seconds": s, "reference_seconds": reference, "ratio": reference / s}
        for name, s in rows
    ]
