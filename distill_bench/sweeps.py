"""What a sweep leaves: one small file per cell while it runs, and a summary at its end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from distill_bench.files import write_json
from distill_bench.overrides import without_places

__all__ = ["Summary", "outcomes", "record"]


def record(path: Path, overrides: list[str], status: str, **content: str) -> None:
    """Write what became of one cell: `status` is done, invalid (wrong input) or failed."""
    if status != "done":
        print(
            f"{status}: {' '.join(without_places(overrides))}: {content['error']}",
            file=sys.stderr,
            flush=True,
        )
    write_json(path, {"overrides": overrides, "status": status, **content})


def outcomes(sweep: Path) -> list[dict[str, Any]]:
    """What `record` wrote for each cell, in the order of the cells."""
    files = sorted(sweep.glob("*/outcome.json"), key=lambda file: int(file.parent.name))
    return [json.loads(file.read_text()) for file in files]


class Summary(Callback):
    """Hydra calls this around a sweep: prints the table of its cells, writes the experiment's, names
    failures."""

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        """Exit code 1 if any cell failed, 2 if any was wrong input."""
        from distill_bench.reporting import show_sweep

        cells = outcomes(Path(config.hydra.sweep.dir))
        run_ids = [cell["run_id"] for cell in cells if cell["status"] == "done"]
        show_sweep(run_ids, Path(config.runs_root), Path(config.results_root), config.experiment_name)
        bad = [cell for cell in cells if cell["status"] != "done"]
        if not bad:
            return
        print(f"\n{len(bad)} of {len(cells)} cells did not finish:", file=sys.stderr)
        for cell in bad:
            print(
                f"  {cell['status']}: {' '.join(without_places(cell['overrides']))}: {cell['error']}",
                file=sys.stderr,
            )
        print(f"  (details: {config.hydra.sweep.dir})", file=sys.stderr, flush=True)
        raise SystemExit(1 if any(cell["status"] == "failed" for cell in bad) else 2)
