"""The entry point: command line -> Hydra -> plan -> run.

Exit codes: 0 done (or already done), 1 a run failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from distill_bench import deferred, processes

deferred.install()

from distill_bench.catalogue import conf_dir  # noqa: E402 (heavy packages must be deferred first)
from distill_bench.errors import UserError  # noqa: E402
from distill_bench.interrupt import Interrupted  # noqa: E402

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Run the command line `argv` (this process's own, if None); leaves through `SystemExit` on any error."""
    from distill_bench.overrides import check_choices, check_keys, explain, plain_words

    _forgive_outputs()
    words = plain_words(sys.argv[1:] if argv is None else argv)
    try:
        check_choices(words)
        check_keys(words)
        if "--help" in words or "-h" in words:
            from distill_bench.help import help_text

            print(help_text(words))
            return
    except UserError as error:
        _stop(f"error: {error}", 2)

    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from distill_bench.planning import register_options

    register_options()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the line below is ours
    sys.argv = [sys.argv[0], *words]
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)
    try:
        entry()
    except (HydraException, OmegaConfBaseException) as error:
        _stop(f"error: {explain(error, words)}", 2)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from the last checkpoint", 130)


def _job(config: Any) -> None:
    """One run, as Hydra calls it; in a sweep an error is written down and the other runs go on."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from distill_bench.api import carry_out
    from distill_bench.sweeps import record

    hydra_config = HydraConfig.get()
    sweep = hydra_config.mode == RunMode.MULTIRUN
    if sweep and processes.several():
        _stop("error: several processes train the network of one run: leave out -m and experiment=", 2)
    given = list(hydra_config.overrides.task)
    outcome = Path(hydra_config.sweep.dir) / str(hydra_config.job.num) / "outcome.json" if sweep else None
    try:
        _, result = carry_out(config, hydra_config.runtime.choices, given, _print)
    except Interrupted as stopped:
        _stop(f"stopped at {stopped}; its state is saved: the same command goes on from there", 130)
    except UserError as error:
        if outcome is None:
            _stop(f"error: {error}", 2)
        record(outcome, given, "invalid", error=str(error))
    except OSError as error:
        place, reason = error.filename or str(error), error.strerror or "cannot be read or written"
        line = f"{place}: {reason}; what was saved stays"
        if outcome is None:
            _stop(f"error: {line}", 2)
        record(outcome, given, "failed", error=line, details=traceback.format_exc())
    except (
        Exception
    ) as error:  # whatever a run of a sweep raises: the others go on, and the summary names this one
        if outcome is None:
            raise
        record(
            outcome, given, "failed", error=f"{type(error).__name__}: {error}", details=traceback.format_exc()
        )
    else:
        if result is None:
            return  # a process that helped another
        if outcome is None:
            _show(result, config)
        else:
            record(outcome, given, "done", run_id=result["run_id"])


def _show(result: dict[str, Any], config: Any) -> None:
    from distill_bench.reporting import show_result

    show_result(result, Path(config.runs_root), products_root=Path(config.products_root))


def _forgive_outputs() -> None:
    """Let outputs that are not UTF-8 show a question mark where a sign has no place in them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _print(line: str) -> None:
    """Print a line; if the output is closed (as by `| head`) or full, the run goes on without it."""
    try:
        if not processes.helps():
            print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (for the rest of the process)


def _stop(line: str, code: int) -> NoReturn:
    if not processes.helps():
        print(line, file=sys.stderr, flush=True)
    raise SystemExit(code)
