"""Publish a table: merge one of your own into `results/`. `python scripts/publish.py --help`"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_REPOSITORY))  # the checkout comes first

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Read the command line `argv` (this process's own, if None) and publish the tables that it names."""
    parser = argparse.ArgumentParser(
        description="Merge tables of your own (tables/<paper>/<table>.csv) into the published ones in "
        "results/. A published row never gives way to one of fewer seeds. Without a name: write the pages "
        "and figures of all published tables anew, from their csv files."
    )
    tables = Path(os.environ.get("DISTILL_BENCH_TABLES", "tables"))
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="for example datadam_table1")
    parser.add_argument("--tables", type=Path, default=tables, help=f"your own tables (default: {tables})")
    parser.add_argument(
        "--results", type=Path, default=_REPOSITORY / "results", help="the published ones (default: results)"
    )
    options = parser.parse_args(argv)

    from distill_bench.errors import UserError
    from distill_bench.reporting.experiment_table import publish, published

    if options.experiments:
        wanted = [(name, options.tables) for name in options.experiments]
    else:
        names = [f"{file.parent.name}_{file.stem}" for file in published(options.results)]
        wanted = [(name, options.results) for name in names]
    try:
        for name, tables in wanted:
            for file in publish(name, tables, options.results):
                print(f"published: {os.path.relpath(file)}")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if wanted:
        print("next: make methods, then look at `git diff` and commit")


if __name__ == "__main__":
    main()
