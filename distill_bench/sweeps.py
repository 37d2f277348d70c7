"""What a sweep shows and leaves: a line and a small file per cell while it runs, and a summary at its end."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

from distill_bench.errors import UserError
from distill_bench.files import write_json
from distill_bench.metrics import place_of
from distill_bench.overrides import without_places
from distill_bench.progress import duration

__all__ = ["SweepEnd", "cell_line", "command_of", "outcomes", "record", "words_in"]

_PLAN = "sweep.json"  # how many cells there are, what differs between them, and when the first began


def record(path: Path, overrides: list[str], status: str, **content: str | bool) -> None:
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


def cell_line(sweep: Path, overrides: Sequence[str], result: Mapping[str, Any], fresh: bool) -> str:
    """One line on a cell that is done: ``[7/24] dm ipc=10 seed=0: 92.1 (14 s), about 3 min left``.

    Its outcome is recorded already. The time left is estimated from the cells that were made in this sweep.
    """
    done = outcomes(sweep)
    try:
        plan = json.loads((sweep / _PLAN).read_text())
    except OSError:  # it was not to be written: then as if this cell were the last
        plan = {"cells": len(done), "swept": [], "began": 0.0}
    words = [word.partition("=") for word in overrides if word.partition("=")[0] in plan["swept"]]
    name = " ".join(
        value if key == "method" else f"{key}={value}".replace("'", "") for key, _, value in words
    )
    took = f"({duration(float(result['provenance']['seconds']))})" if fresh else "(already done)"
    line = f"[{len(done)}/{plan['cells']}] {name or result['method']}: {_first_measure(result)} {took}"
    made, left = sum(bool(cell.get("fresh")) for cell in done), plan["cells"] - len(done)
    if made and left > 0:
        line += f", about {duration((time.time() - plan['began']) / made * left)} left"
    return line


def _first_measure(result: Mapping[str, Any]) -> str:
    """The mean of the most telling measure, with the deviation of its repeats: ``accuracy 92.1 ± 0.4``."""
    first = min(result["measures"], key=lambda measure: place_of(measure["name"]))
    name, values = str(first["name"]).replace("_", " "), first["values"]
    spread = f" ± {stdev(values):.2g}" if len(values) > 1 and stdev(values) else ""
    return f"{name} {fmean(values):.4g}{spread}"


class SweepEnd(Callback):
    """Hydra calls this around a sweep: it counts the cells; then prints their table, writes it, and names
    failures."""

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Write down what each cell says of the sweep. An error is Hydra's to name, when it parses the same
        words."""
        params = dict(config.hydra.sweeper.get("params") or {})
        words = [*(f"{key}={value}" for key, value in params.items()), *words_in(config.hydra)]
        values = _values(words)
        swept = [key for key, count in values.items() if count > 1]
        sweep = Path(config.hydra.sweep.dir)
        plan = {"cells": math.prod(values.values()), "swept": swept, "began": time.time()}
        sweep.mkdir(parents=True, exist_ok=True)
        write_json(sweep / _PLAN, plan)

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


def _values(words: Sequence[str]) -> dict[str, int]:
    """How many values each key is given; the last word of a key counts."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    counts = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        several = override.is_sweep_override()
        counts[override.get_key_element()] = len(list(override.sweep_iterator())) if several else 1
    return counts


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
        Path(config.tables_root),
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
