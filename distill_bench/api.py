"""From Python: one run with the words of its command line, and all results as a table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distill_bench import deferred, processes
from distill_bench.errors import UserError, require
from distill_bench.interrupt import Interrupt, Interrupted
from distill_bench.overrides import check_choices, check_keys, explain, plain_words
from distill_bench.planning import Plan, compose, plan_run

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from distill_bench import reporting

__all__ = ["Result", "carry_out", "results", "run"]


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A finished run.

    record: what its `result.json` holds. folder: where that lies, beside what measuring left. Its
    representation is what the command line shows.
    """

    record: Mapping[str, Any]
    folder: Path
    products_root: Path

    @cached_property
    def measures(self) -> dict[str, float]:
        """The mean of each measure over its repeats: ``accuracy``, ``class_cmi class=3``, ...

        Facets stand behind the name, but for the network of the first measure, the run's own.
        """
        read = self._read
        own = next((m.facets["student"] for m in read.measures if "student" in m.facets), None)
        means = {}
        for measure in read.measures:
            facets = {key: text for key, text in measure.facets.items() if (key, text) != ("student", own)}
            name = " ".join([measure.name, *(f"{key}={text}" for key, text in facets.items())])
            means[name] = fmean(measure.values)
        return means

    @cached_property
    def product(self) -> Any:
        """What the method made, as `distill_bench.load` gives it; read when it is first asked for."""
        from distill_bench.products import load_product

        return load_product(self._read.product_folder)

    def frame(self) -> pd.DataFrame:
        """Every value of every measure as a line, in the form of `results`."""
        return _frame([self._read])

    def __repr__(self) -> str:
        from rich.console import Console

        from distill_bench.reporting import show_result

        console = Console(file=io.StringIO(), width=110, color_system=None)
        show_result(self.record, self.folder.parent, console, products_root=self.products_root, onwards=False)
        assert isinstance(console.file, io.StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().strip().splitlines())

    @cached_property
    def _read(self) -> reporting.Result:
        from distill_bench.reporting import parse_result

        return parse_result(self.record, self.folder, products_root=self.products_root)


def run(*words: str) -> Result:
    """Make and measure what the words of a command line say: ``run("method=dm", "dataset=digits", "ipc=1")``.

    The same plan, folders and checks as on the command line: what is done is read and not done again, what
    was stopped goes on from its last checkpoint. One run alone: several values or an experiment are a sweep,
    for the command line. Raises `distill_bench.errors.UserError`, one line, for wrong input, and
    KeyboardInterrupt when it is stopped, by hand or by its `time_limit`, after its state is saved.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    given = plain_words([str(word) for word in words])
    try:
        _refuse_sweeps(given)
        check_choices(given)
        check_keys(given)
        with _without_another_hydra():
            composition = compose(given)
            plan, record = carry_out(composition.config, composition.choices, given, lambda _: None)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, given)) from None
    except Interrupted as stopped:
        line = f"stopped at {stopped}; its state is saved: the same call goes on from there"
        raise KeyboardInterrupt(line) from None
    options = plan.options
    assert record is not None, "a process that was started to help another has no result of its own"
    return Result(record, Path(options.runs_root) / plan.run_id, Path(options.products_root))


def results(root: Path | str = "runs", *, products_root: Path | str | None = None) -> pd.DataFrame:
    """Every value of every measure of all finished runs under `root`, a line each.

    Columns: run_id, cell_id (the run up to its seed), product_id, task, method; each axis of a task's tables
    (dataset, ipc, student, ...) and each facet of a measure (attack, class, ...); protocol, profile, settings
    (JSON: what differs from the defaults), seed, repeat, metric, unit, value; data (fingerprint), device,
    seconds, folder. What has no value is missing. A file that cannot be read is named in one line and left
    out. UserError if there is no such folder.
    """
    from distill_bench.reporting import read_results

    folder = Path(root)
    require(folder.is_dir(), "results", root, "a folder of runs")
    products = None if products_root is None else Path(products_root)
    return _frame(read_results(folder, products_root=products))


def carry_out(
    config: DictConfig, choices: Mapping[str, str], words: Sequence[str], say: Callable[[str], None]
) -> tuple[Plan, dict[str, Any] | None]:
    """Plan, check and (unless it is already done) make and measure one run: its plan, and its result.

    In a process that only helps another one (see `processes`) there is no result.

    `config`, `choices` and `words` are as `plan_run` takes them; `say` is told what happens. Raises UserError
    for wrong input, before data are loaded, and `Interrupted` when asked to stop or at its time limit.
    """
    plan = plan_run(config, choices, words)
    if "dataset" in plan.product.groups:
        from distill_bench.data.locate import locate

        locate(plan.product.groups["dataset"], Path(plan.options.data_root))
    deferred.load()
    from distill_bench import runner

    processes.start(plan.options.device)
    with Interrupt(plan.options.limit).listening() as interrupt:

        def result() -> dict[str, Any]:
            done = runner.finished(plan)
            if done is None:
                interrupt.check("its beginning")
                say(f"run {plan.run_id}")
                return runner.execute(plan, interrupt)
            say(f"already done: {plan.run_id} (force=true runs it anew)")
            if runner.mirror_finished(plan, done):
                say(f"mirrored: {Path(plan.options.runs_root) / plan.run_id / 'wandb'}")
            return done

        return plan, result() if processes.world() == 1 else runner.execute_together(plan, interrupt, result)


def _refuse_sweeps(words: Sequence[str]) -> None:
    """One run is one value of everything; sweeps, and flags, are for the command line."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for word in words:
        if len(word.split()) > 1 and all("=" in part for part in word.split()):
            raise UserError(f"{word}: several words in one text; give each as its own argument")
        if word.startswith(("-", "hydra")):
            raise UserError(f"{word}: for the command line alone: python run.py ... {word}")
        if word.startswith("experiment=") and word != "experiment=none":
            raise UserError(f"{word}: several runs; use the command line: python run.py {word}")
        try:
            (override,) = parser.parse_overrides([word])
        except HydraException as error:
            raise UserError(f"{word}: {explain(error)}") from None
        if override.is_sweep_override():
            raise UserError(f"{word}: several values are a sweep; use the command line: python run.py -m ...")


@contextmanager
def _without_another_hydra() -> Iterator[None]:
    """Compose from our own config folder, even inside an application of Hydra's that has another."""
    from hydra.core.global_hydra import GlobalHydra

    place = GlobalHydra.instance()
    other, place.hydra = place.hydra, None
    try:
        yield
    finally:
        place.hydra = other


def _frame(runs: Sequence[reporting.Result]) -> pd.DataFrame:
    import pandas as pd

    axes = list(dict.fromkeys(name for run in runs for name in run.axes))
    facets = list(dict.fromkeys(name for run in runs for m in run.measures for name in m.facets))
    named = [name for name in dict.fromkeys([*axes, *facets]) if name not in {*_BEFORE, *_AFTER}]
    lines = [line for run in runs for line in _lines(run)]
    frame = pd.DataFrame(lines, columns=[*_BEFORE, *named, *_AFTER])
    for name in axes:
        if all(isinstance(run.axes.get(name, 0), int) for run in runs):
            frame[name] = frame[name].astype("Int64")  # whole numbers stay so where other runs have none
    return frame


_BEFORE = ("run_id", "cell_id", "product_id", "task", "method")
_AFTER = (
    *("protocol", "profile", "settings", "seed", "repeat", "metric", "unit", "value"),
    *("data", "device", "seconds", "folder"),
)


def _lines(run: reporting.Result) -> Iterator[dict[str, Any]]:
    """The lines of one run; a facet of an axis' name, as the network that was evaluated, takes its place."""
    from distill_bench.metrics import METRICS

    common = {
        "run_id": run.run_id,
        "cell_id": run.cell_id,
        "product_id": run.product.id,
        "task": run.task,
        "method": run.method,
        "protocol": run.protocol,
        "profile": run.profile,
        "settings": json.dumps(run.settings, sort_keys=True),
        "seed": run.seed,
        "data": run.data,
        "device": str(run.provenance.get("device", "")),
        "seconds": float(run.provenance.get("seconds", 0.0)),
        "folder": str(run.folder),
    }
    for measure in run.measures:
        unit = METRICS[measure.name.split("/")[0]].unit
        of_measure = {**run.axes, **measure.facets, **common, "metric": measure.name, "unit": unit}
        for repeat, value in enumerate(measure.values):
            yield {**of_measure, "repeat": repeat, "value": value}
