"""One planned run: its product, there or made; then its measures, there or taken."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from distill_bench.catalogue import task_module
from distill_bench.contract import Outcome
from distill_bench.files import Damaged
from distill_bench.groups import plain
from distill_bench.interrupt import Interrupt
from distill_bench.metrics import Measure
from distill_bench.planning import Plan, ProductPlan
from distill_bench.products.files import RECORD
from distill_bench.provenance import Clock, environment
from distill_bench.reporting.results import parse_result
from distill_bench.reporting.schema import SCHEMA
from distill_bench.runner.machine import Machine, data_stamp
from distill_bench.runner.product import Stored, obtain, part_loader, whole_record
from distill_bench.runner.reading import named
from distill_bench.store import Folder, say
from distill_bench.tracking import Tracker, WandbMirror

__all__ = ["execute", "finished", "mirror_finished"]


def finished(plan: Plan) -> dict[str, Any] | None:
    """The result of a run that is done and whose product is whole, unless it is to be run again."""
    if plan.options.force:
        return None
    try:
        result = _result_in(_run_folder(plan))
        record = whole_record(Folder(Path(plan.options.products_root), plan.product.product_id, RECORD))
    except Damaged:
        return None  # `execute` names it
    if not result or not record or result["product"]["digest"] != record["digest"]:
        return None
    return result if record.get("data_stamp", "") == data_stamp(plan.product, plan.options) else None


def execute(plan: Plan, interrupt: Interrupt) -> dict[str, Any]:
    """Make the product if it is not there, measure it, and write the result; resumes what was stopped.

    Raises UserError for what the user can mend and `Interrupted` when asked to stop; what was there before
    stays until its successor is whole.
    """
    machine, folder = Machine.of(plan.options, interrupt), _run_folder(plan)
    machine.product_id = plan.product.product_id
    with folder.held(f"run {plan.run_id}"):
        if plan.options.force and not folder.forced():
            _begin_anew(machine.product_folder(plan.product))
        if plan.options.force:
            folder.begin(anew=True)
        machine.mirror = _mirror(plan, folder)
        _warn_of_a_cpu(plan, machine.device)
        if "dataset" in plan.product.groups:
            machine.dataset(plan.product)  # so that a product of other data is noticed
        stored = obtain(machine, plan.product, anew=plan.options.force)
        result = None if plan.options.force else named(lambda: _result_in(folder), "measuring anew")
        if result is None or result["product"]["digest"] != stored.digest:
            result = _measure(machine, plan, stored, folder)
    return result


def _measure(machine: Machine, plan: Plan, stored: Stored, folder: Folder) -> dict[str, Any]:
    clock, task = Clock(), task_module(plan.product.info.task)
    folder.begin()
    about = {"run": plan.run_id, "product": stored.digest}
    owner, groups = f"task {plan.product.info.task}", plan.measured_with
    context = machine.context(
        plan.product,
        folder,
        owner=owner,
        groups=groups,
        about=about,
        load_part=part_loader(machine, plan.parts, owner),
    )
    outcome: Outcome = task.measure(context, stored.product)
    context.tracker.rewind()
    measures = [*stored.measures, *outcome.measures]
    facts = {"command": plan.command, **clock.facts(), **environment(machine.device)}
    facts["product_seconds"] = stored.record["provenance"]["seconds"]
    if stored.record["data_fingerprint"] and not _shuffled(plan):
        facts["data_fingerprint"] = stored.record["data_fingerprint"]
    result = _result(plan, stored, measures, outcome.artifacts, facts)
    folder.finish(result)
    context.tracker.show_pictures(folder.path, outcome.artifacts)
    context.tracker.finish(_summary(measures))
    return result


def mirror_finished(plan: Plan, result: Mapping[str, Any]) -> bool:
    """Mirror a run that was done before, with its product's curves and pictures, if it is to be and has not
    been; whether it was."""
    run, product = (
        _run_folder(plan),
        Folder(Path(plan.options.products_root), plan.product.product_id, RECORD),
    )
    if plan.tracker.mirror == "none" or (run.path / "wandb").exists():
        return False
    mirror = _mirror(plan, run)
    for folder, artifacts in ((product, result["product"]["artifacts"]), (run, result["artifacts"])):
        tracker = Tracker(folder.path / "metrics.jsonl", mirror)
        tracker.mirror_points()
        tracker.show_pictures(folder.path, artifacts)
    tracker.finish(_summary(Measure(**measure) for measure in result["measures"]))
    return True


def _result(
    plan: Plan,
    stored: Stored,
    measures: list[Measure],
    artifacts: Mapping[str, str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The standard form in which every run of every task is written down."""
    info = plan.product.info
    return {
        "schema": SCHEMA,
        "run_id": plan.run_id,
        "cell_id": plan.cell_id,
        "status": "done",
        "task": info.task,
        "method": plan.product.name,
        "paper": info.paper,
        "summary": info.summary,
        "axes": plan.axes,
        "protocol": plan.protocol,
        "profile": plan.product.profile,
        "settings": plan.settings,
        "seed": plan.options.seed,
        "config": {
            "method": plain(plan.product.config),
            "made_from": plan.product.identity["made_from"],
            **plan.identity,
            **_used(plan.product),
        },
        "product": {
            "id": plan.product.product_id,
            "digest": stored.digest,
            "path": os.path.relpath(stored.folder.path, _run_folder(plan).path),
            "artifacts": stored.record["artifacts"],
        },
        "measures": [measure.as_dict() for measure in measures],
        "artifacts": dict(artifacts),
        "provenance": dict(facts),
    }


def _used(plan: ProductPlan) -> dict[str, Any]:
    return {name: plan.groups[name].identity() for name in plan.uses}


def _result_in(folder: Folder) -> dict[str, Any] | None:
    """The run's result, if there is one. `Damaged` if it is not whole."""
    content = folder.record()
    if content is None:
        return None
    try:
        parse_result(content, folder.path)
    except ValueError as error:
        raise Damaged(f"{folder.record_file}: {error}") from None
    if content["run_id"] != folder.name:
        raise Damaged(f"{folder.record_file}: the result of {content['run_id']}")
    return content


def _begin_anew(folder: Folder) -> None:
    with folder.held(f"product {folder.name}"):
        folder.begin(anew=True)


def _run_folder(plan: Plan) -> Folder:
    return Folder(Path(plan.options.runs_root), plan.run_id, "result.json")


def _mirror(plan: Plan, folder: Folder) -> WandbMirror | None:
    tracker = plan.tracker
    if tracker.mirror == "none":
        return None
    config = {**plan.product.identity, **plan.identity, "axes": plan.axes, "settings": plan.settings}
    return WandbMirror(
        folder.path, run_id=plan.run_id, config=config, project=tracker.project, mode=tracker.mode
    )


def _warn_of_a_cpu(plan: Plan, device: torch.device) -> None:
    if device.type == "cpu" and plan.product.profile == "paper" and "dataset" in plan.product.groups:
        say("warning: profile=paper has the papers' sizes, and this is a CPU; profile=fast scales them down")


def _shuffled(plan: Plan) -> bool:
    """Whether the seeds of a cell differ in their data on purpose, so that they are repeats all the same."""
    config = plan.product.groups.get("dataset")
    return config is not None and config.shuffled_labels


def _summary(measures: Iterable[Measure]) -> dict[str, float]:
    return {_facet_name(m.name, m.facets): fmean(m.values) for m in measures}


def _facet_name(name: str, facets: Mapping[str, str]) -> str:
    return "/".join([name, *facets.values()])
