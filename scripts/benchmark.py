"""Speed and memory against the plain formulations, all within one run: `python scripts/benchmark.py [NAME
...]`.

Each module of `scripts/benchmarks` has `run() -> list of rows`. Ratios above 1 mean that ours is faster. The
rows go to `tables/benchmarks/<name>_<device>.json` (published with `--out results/benchmarks`) with the
versions and the hardware that they were measured on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

import torch  # noqa: E402 (the checkout comes first on the path)

from distill_bench.device import choose_device, describe_device  # noqa: E402
from distill_bench.files import write_json  # noqa: E402

NAMES = sorted(file.stem for file in (TOP / "scripts" / "benchmarks").glob("*.py") if file.stem != "__init__")


def main() -> None:
    """Run the chosen benchmarks (all of them by default), print their rows and write them down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", default=NAMES, choices=[*NAMES, []], metavar=f"{{{','.join(NAMES)}}}"
    )
    parser.add_argument(
        "--out", type=Path, default=TOP / "tables" / "benchmarks", help="default: tables/benchmarks"
    )
    arguments = parser.parse_args()
    device = choose_device("auto")
    for name in arguments.names:
        rows: list[dict[str, Any]] = importlib.import_module(f"scripts.benchmarks.{name}").run()
        for row in rows:
            print(json.dumps(row), flush=True)
        content = {
            "benchmark": name,
            "command": f"python scripts/benchmark.py {name}",
            "date": datetime.now(UTC).date().isoformat(),
            "device": describe_device(device),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "rows": rows,
        }
        write_json(arguments.out / f"{name}_{device.type}.json", content)


if __name__ == "__main__":
    main()
