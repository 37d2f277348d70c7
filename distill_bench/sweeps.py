"""What a sweep leaves: one small file per cell while it runs, and a summary at its end."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

from distill_bench.errors import UserError
from distill_bench.files import write_json
from distill_bench.overrides import without_places

__all__ = ["SweepEnd", "command_of", "outcomes", "record", "words_in"]


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


class SweepEnd(Callback):
    """Hydra calls this after a sweep: prints its table, writes the experiment's, names failures."""

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        """Exit code 1 if any cell or the table failed, 2 if any was wrong input.

        Hydra turns whatever a callback raises into a warning and ends with 0, but for `SystemExit`.
        """
        sweep = Path(config.hydra.sweep.dir)
        codes = [_guarded(_show_table, config, sweep), _guarded(_name_failures, sweep)]
        if any(codes):
            raise SystemExit(1 if 1 in codes else 2)


def command_of(overrides: Sequence[str]) -> str:
    """The command line of a sweep: all words given by hand, but for places on one machine."""
    sweep = [] if any(word.startswith("experiment=") for word in overrides) else ["-m"]
    words = [word.replace("'", "") if word.startswith("ipc=") else word for word in overrides]
    return " ".join(["python run.py", *sweep, *map(shlex.quote, without_places(words))])


def words_in(hydra_config: Any) -> list[str]:
    """The words that were given, as they were: `${...}` in them stands for a value of the run's config."""
    words = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def _guarded(act: Callable[..., int], *given: Any) -> int:
    """The exit code of `act`; an error is one line, and code 2 if it is the user's to mend, else 1."""
    try:
        return act(*given)
    except UserError as error:
        line, code = f"error: {error}", 2
    except Exception as error:
        line, code = f"error: after the sweep: {type(error).__name__}: {error}", 1
    print(line, file=sys.stderr, flush=True)
    return code


def _show_table(config: Any, sweep: Path) -> int:
    from distill_bench.reporting import show_sweep

    products = config.get("products_root")
    show_sweep(
        [cell["run_id"] for cell in outcomes(sweep) if cell["status"] == "done"],
        Path(config.runs_root),
        Path(config.results_root),
        str(config.get("experiment_name") or ""),
        command=command_of(words_in(config.hydra)),
        products_root=Path(products) if products else None,
    )
    return 0


def _name_failures(sweep: Path) -> int:
    """Name the cells that did not finish; 1 if any failed, 2 if all of them were wrong input."""
    cells = outcomes(sweep)
    bad = [cell for cell in cells if cell["status"] != "done"]
    if not bad:
        return 0
    print(f"\n{len(bad)} of {len(cells)} cells did not finish:", file=sys.stderr)
    for cell in bad:
        words = " ".join(without_places(cell["overrides"]))
        print(f"  {cell['status']}: {words}: {cell['error']}", file=sys.stderr)
    print(f"  (details: {sweep})", file=sys.stderr, flush=True)
    return 1 if any(cell["status"] == "failed" for cell in bad) else 2
