"""One planned run, from its folder to its result."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from omegaconf import OmegaConf

from distill_bench import __version__
from distill_bench.catalogue import method_module, task_module
from distill_bench.config import Plan, plain, typed
from distill_bench.contract import Context, Outcome, SyntheticSet
from distill_bench.device import choose_device, describe_device
from distill_bench.errors import require
from distill_bench.files import write_json
from distill_bench.interrupt import Interrupt
from distill_bench.store import Cache, RunFolder
from distill_bench.tracking import Tracker, WandbMirror

__all__ = ["execute", "finished", "make_context"]


def finished(plan: Plan) -> dict[str, Any] | None:
    """The result of a run that is already done, unless it is to be run again."""
    return None if plan.settings.force else _folder(plan).result()


def execute(plan: Plan, interrupt: Interrupt) -> dict[str, Any]:
    """Make the product, measure it, and write the result; resumes what an earlier attempt left.

    Raises UserError for what the user can mend and `Interrupted` when asked to stop; the folder then holds
    what is needed to go on.
    """
    if plan.settings.threads:
        torch.set_num_threads(plan.settings.threads)
    context = make_context(plan, interrupt)
    folder = context.folder
    with folder.held():
        if plan.settings.force:
            folder.restart()
        write_json(folder.path / "config.json", {"identity": plan.identity, "command": plan.command})
        context.tracker.mirror = _mirror(plan, folder)
        started, clock = datetime.now(UTC), time.perf_counter()
        outcome: Outcome = task_module(plan.info.task).run(context, plan.module, plan.method)
        took = {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 2),
        }
        result = _result(plan, outcome, {**took, **_environment(plan, context.device)})
        folder.finish(result)
        for role, name in outcome.artifacts.items():
            if name.endswith(".png"):
                context.tracker.picture(role, folder.path / name)
        context.tracker.finish({_facet_name(m.name, m.facets): fmean(m.values) for m in outcome.measures})
    return result


def make_context(plan: Plan, interrupt: Interrupt) -> Context:
    """What the task and the method of `plan` may use. UserError if the device is not there."""
    folder = _folder(plan)
    return Context(
        folder=folder,
        cache=Cache(
            Path(plan.settings.cache_root), say=lambda line: print(line, file=sys.stderr, flush=True)
        ),
        tracker=Tracker(folder.path),
        interrupt=interrupt,
        device=choose_device(plan.settings.device),
        seed=plan.settings.seed,
        data_root=Path(plan.settings.data_root),
        checkpoint_seconds=plan.settings.checkpoint_seconds,
        dataset_config=plan.groups["dataset"],
        ipc=plan.groups["ipc"],
        student=plan.groups["student"],
        protocol=plan.groups["protocol"],
        generator_config=plan.groups["generator"],
        mixture=plan.groups["mixture"],
        profile=plan.labels["profile"],
        produce=partial(_produce, plan),
    )


def _produce(plan: Plan, ctx: Context, name: str, settings: Mapping[str, Any]) -> SyntheticSet:
    """The product of method `name` in the place of `plan`'s own, from the cache if it is there."""
    module = method_module(name)
    task = plan.info.task
    require(module.INFO.task == task, "method.base", name, f"a method of {task}")
    defaults = plain(module.Config())
    capped = {
        key: min(value, plan.caps[key]) if key in plan.caps else value for key, value in defaults.items()
    }
    config = typed(module.Config, OmegaConf.create({**capped, **settings}), "method.base_settings")
    used = {
        group: plain(plan.groups[group]) for group in module.INFO.uses if group not in ("ipc", "protocol")
    }
    parts = {"method": plain(config), **used, "ipc": plain(ctx.ipc), "seed": ctx.seed}

    def make() -> dict[str, Any]:
        made = module.run(ctx, config)
        return {"images": made.images, "labels": made.labels, "lr": made.lr}

    return SyntheticSet(**ctx.cache.get("product", {**parts, "data": ctx.dataset.fingerprint}, make))


def _folder(plan: Plan) -> RunFolder:
    return RunFolder(Path(plan.settings.runs_root), plan.run_id)


def _mirror(plan: Plan, folder: RunFolder) -> WandbMirror | None:
    if plan.tracker.mirror == "none":
        return None
    config = {**plan.identity, "labels": plan.labels}
    tracker = plan.tracker
    return WandbMirror(
        folder.path, run_id=plan.run_id, config=config, project=tracker.project, mode=tracker.mode
    )


def _result(plan: Plan, outcome: Outcome, environment: dict[str, Any]) -> dict[str, Any]:
    """The standard form in which every run of every task is written down."""
    return {
        "schema": 1,
        "run_id": plan.run_id,
        "cell_id": plan.cell_id,
        "status": "done",
        "task": plan.info.task,
        "method": plan.identity["method"]["name"],
        "paper": plan.info.paper,
        "summary": plan.info.summary,
        "labels": plan.labels,
        "seed": plan.settings.seed,
        "config": plain(plan.identity),
        "measures": [measure.as_dict() for measure in outcome.measures],
        "artifacts": outcome.artifacts,
        "provenance": {**environment, **outcome.provenance},
    }


def _environment(plan: Plan, device: torch.device) -> dict[str, Any]:
    return {
        "command": plan.command,
        "device": describe_device(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "distill_bench": __version__,
        "commit": _commit(),
    }


def _commit() -> str:
    """The checkout's commit, with a mark if files differ from it; empty when this is not a checkout."""
    top = Path(__file__).resolve().parent.parent
    if not (top / ".git").exists():
        return ""
    words = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _facet_name(name: str, facets: dict[str, str]) -> str:
    return "/".join([name, *facets.values()])
