"""The entry point: command line -> Hydra -> plan -> run.

Exit codes: 0 done (or already done, or stopped by `time_limit`), 1 a run failed, 2 wrong input, 130
interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from distill_bench import deferred, processes

deferred.install()

from distill_bench.catalogue import conf_dir  # noqa: E402 (heavy packages must be deferred first)
from distill_bench.errors import UserError  # noqa: E402
from distill_bench.interrupt import Interrupted, begin_command  # noqa: E402
from distill_bench.memory import lacks_memory  # noqa: E402

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Run the command line `argv` (this process's own, if None); leaves through `SystemExit` on any error."""
    begin_command()
    _forgive_outputs()
    try:
        words = _checked(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        _stop(f"error: {error}", 2)
    if words is None:
        return

    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from distill_bench.overrides import explain
    from distill_bench.planning import register_options

    register_options(words)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the line below is ours
    sys.argv = [sys.argv[0], *words]
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)
    try:
        entry()
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        _stop(f"error: {explain(error, words)}", 2)  # `_job` lets none of these pass: Hydra raised it
    except OSError as error:
        _stop(f"error: {_about_a_place(error)}", 2)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from the last checkpoint", 130)


def _checked(argv: Sequence[str]) -> list[str] | None:
    """The words as Hydra takes them, flags first; None if they only ask for help, which is then printed.

    UserError for what can be refused before Hydra is loaded.
    """
    from distill_bench.overrides import check_choices, check_forms, check_keys, plain_words, split_flags

    flags, given = split_flags(argv)
    words = [*flags, *plain_words(given)]
    check_forms(words[len(flags) :])
    check_choices(words)
    check_keys(words)
    if not words or {"--help", "-h"} & set(flags):
        from distill_bench.help import help_text

        print(help_text(words))
        return None
    if "--version" in flags:
        from distill_bench import __version__

        print(f"distill_bench {__version__}")
        return None
    return words


def _job(config: Any) -> None:
    """One run, as Hydra calls it; in a sweep an error is written down and the other runs go on."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from distill_bench.api import carry_out
    from distill_bench.sweeps import cell_line, record, words_in

    hydra_config = HydraConfig.get()
    sweep = hydra_config.mode == RunMode.MULTIRUN
    if sweep and processes.several():
        _stop("error: several processes train the network of one run: leave out -m and experiment=", 2)
    given = words_in(hydra_config)
    folder = Path(hydra_config.sweep.dir)
    outcome = folder / str(hydra_config.job.num) / "outcome.json" if sweep else None
    said: list[str] = []  # in a sweep a line at the end of each cell says it all
    try:
        _, result = carry_out(config, hydra_config.runtime.choices, given, said.append if sweep else _print)
    except Interrupted as stopped:
        how, code = (f" by time_limit={config.time_limit}", 0) if stopped.at_limit else ("", 130)
        _stop(f"stopped at {stopped}{how}; its state is saved: the same command goes on from there", code)
    except UserError as error:
        if outcome is None:
            _stop(f"error: {error}", 2)
        record(outcome, given, "invalid", error=str(error))
    except Exception as error:  # whatever a run raises: the others of a sweep go on, and the summary names it
        line = _mendable(error)
        if outcome is not None:
            named = line or f"{type(error).__name__}: {error}"
            record(outcome, given, "failed", error=named, details=traceback.format_exc())
        elif line:
            _stop(f"error: {line}", 2)
        else:
            traceback.print_exc()
            raise SystemExit(1) from None
    else:
        if result is None:
            return  # a process that helped another
        if outcome is None:
            _show(result, config)
        else:
            fresh = not any(line.startswith("already done") for line in said)
            record(outcome, given, "done", run_id=result["run_id"], fresh=fresh)
            _print(cell_line(folder, given, result, fresh))


def _mendable(error: Exception) -> str:
    """One line for a place that cannot be read or written, a value that Hydra cannot resolve, or memory that
    is not there; else nothing."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from distill_bench.overrides import explain

    if isinstance(error, OSError):
        return _about_a_place(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return explain(error)
    if lacks_memory(error):
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return f"not enough memory for these sizes ({reason}); what was saved stays"
    return ""


def _about_a_place(error: OSError) -> str:
    place, reason = error.filename or str(error), error.strerror or "cannot be read or written"
    return f"{place}: {reason}; what was saved stays"


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
