"""Write the page of all methods, results/methods.md: `python scripts/methods.py`, or `make methods`."""

from __future__ import annotations

import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_REPOSITORY))  # the checkout comes first

from distill_bench import deferred  # noqa: E402

deferred.install()  # methods are looked up, not run: torch is not needed

from distill_bench.files import write_text  # noqa: E402
from distill_bench.reporting.methods_page import methods_page  # noqa: E402

__all__ = ["main"]


def main(results_root: Path = _REPOSITORY / "results") -> Path:
    """Write the page into `results_root`; the file."""
    page = results_root / "methods.md"
    write_text(page, methods_page(results_root))
    return page


if __name__ == "__main__":
    print(f"written: {main()}")
