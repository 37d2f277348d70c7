"""Make the report of all runs: one HTML file to open in a browser. `python scripts/report.py --help`"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout comes first

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Read the command line `argv` (this process's own, if None) and write the report."""
    parser = argparse.ArgumentParser(
        description="One HTML file with the tables, figures and details of all runs."
    )
    runs = Path(os.environ.get("DISTILL_BENCH_RUNS", "runs"))
    parser.add_argument("--runs", type=Path, default=runs, help=f"folder of the runs (default: {runs})")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the tables (default: results)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="file to write (default: report.html)"
    )
    products = os.environ.get("DISTILL_BENCH_PRODUCTS")
    parser.add_argument(
        "--products",
        type=Path,
        default=Path(products) if products else None,
        help=f"folder of the products (default: {products or 'products, beside the folder of the runs'})",
    )
    options = parser.parse_args(argv)

    from distill_bench.errors import UserError
    from distill_bench.reporting import write_report

    if options.runs != runs and not options.runs.is_dir():
        print(f"error: --runs={options.runs}: there is no such folder", file=sys.stderr)
        raise SystemExit(2)
    try:
        out = write_report(options.runs, options.results, options.out, products_root=options.products)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"report: {out} ({out.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    main()
