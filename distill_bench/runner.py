"""One planned run: its product, there or made; then its measures, there or taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from distill_bench import data, products
from distill_bench.catalogue import task_module
from distill_bench.context import Context
from distill_bench.contract import Outcome, ProductSpec
from distill_bench.device import choose_device
from distill_bench.files import Damaged, load_tensors
from distill_bench.groups import plain
from distill_bench.interrupt import Interrupt
from distill_bench.metrics import Measure
from distill_bench.planning import Options, Plan, ProductPlan
from distill_bench.products.files import RECORD, load_product, save_product
from distill_bench.provenance import Clock, environment
from distill_bench.reporting.results import SCHEMA, parse_result
from distill_bench.store import Cache, Checkpoints, Folder, content_key, say
from distill_bench.tracking import Tracker, WandbMirror

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["Machine", "Stored", "execute", "finished", "obtain"]


@dataclass(kw_only=True)
class Machine:
    """What everything in one process shares: folders, device, and the data sets that were loaded."""

    options: Options
    device: torch.device
    interrupt: Interrupt
    mirror: WandbMirror | None = None
    datasets: dict[str, ImageDataset] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Options, interrupt: Interrupt) -> Machine:
        """The machine of a run. UserError if its device is not there."""
        if options.threads:
            torch.set_num_threads(options.threads)
        return cls(options=options, device=choose_device(options.device), interrupt=interrupt)

    @property
    def cache(self) -> Cache:
        """The parts that runs share."""
        return Cache(Path(self.options.cache_root))

    def product_folder(self, plan: ProductPlan) -> Folder:
        """Where the product of `plan` lies."""
        return Folder(Path(self.options.products_root), plan.product_id, RECORD)

    def dataset(self, plan: ProductPlan) -> ImageDataset:
        """The data set of `plan`, loaded once a process."""
        key = self._key(plan)
        if key not in self.datasets:
            root = Path(self.options.data_root)
            self.datasets[key] = data.load(plan.groups["dataset"], root, self.cache, self.device, plan.seed)
        return self.datasets[key]

    def known_fingerprint(self, plan: ProductPlan) -> str:
        """The fingerprint of the data set of `plan` if it is loaded, else nothing."""
        loaded = self.datasets.get(self._key(plan)) if "dataset" in plan.groups else None
        return loaded.fingerprint if loaded else ""

    def context(
        self,
        plan: ProductPlan,
        folder: Folder,
        owner: str,
        groups: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> Context:
        """What `owner` may use while it works in `folder`."""
        context = Context(
            device=self.device,
            seed=plan.seed,
            cache=self.cache,
            checkpoints=Checkpoints(folder.work, about),
            tracker=Tracker(folder.work / "metrics.jsonl", self.mirror),
            interrupt=self.interrupt,
            checkpoint_seconds=self.options.checkpoint_seconds,
            owner=owner,
            groups=groups,
            load_dataset=lambda: self.dataset(plan),
            load_part=lambda spec: obtain(self, _part(plan, spec)).product,
        )
        if "dataset" in groups:
            _ = context.dataset  # so that checkpoints name it before any loop is entered
        return context

    def _key(self, plan: ProductPlan) -> str:
        config = plan.groups["dataset"]
        seed = plan.seed if config.shuffled_labels else 0
        return content_key({"dataset": plain(config), "seed": seed})


@dataclass(frozen=True)
class Stored:
    """A product as it lies in its folder."""

    product: Any
    record: Mapping[str, Any]
    folder: Folder

    @property
    def digest(self) -> str:
        """Of the product's content."""
        return str(self.record["digest"])

    @property
    def measures(self) -> list[Measure]:
        """What the method measured itself."""
        return [Measure(**measure) for measure in self.record["measures"]]


def finished(plan: Plan) -> dict[str, Any] | None:
    """The result of a run that is done and whose product is whole, unless it is to be run again."""
    if plan.options.force:
        return None
    result = _result_in(_run_folder(plan))
    folder = Folder(Path(plan.options.products_root), plan.product.product_id, RECORD)
    record = _whole_record(folder)
    return result if result and record and result["product"]["digest"] == record["digest"] else None


def execute(plan: Plan, interrupt: Interrupt) -> dict[str, Any]:
    """Make the product if it is not there, measure it, and write the result; resumes what was stopped.

    Raises UserError for what the user can mend and `Interrupted` when asked to stop; what was there before
    stays until its successor is whole.
    """
    machine, folder = Machine.of(plan.options, interrupt), _run_folder(plan)
    with folder.held(f"run {plan.run_id}"):
        if plan.options.force and not folder.forced():
            _begin_anew(machine.product_folder(plan.product))
        folder.begin(anew=plan.options.force)
        machine.mirror = _mirror(plan, folder)
        _warn_of_a_cpu(plan, machine.device)
        stored = obtain(machine, plan.product, anew=plan.options.force)
        result = None if plan.options.force else _result_in(folder)
        if result is None or result["product"]["digest"] != stored.digest:
            result = _measure(machine, plan, stored, folder)
    return result


def obtain(machine: Machine, plan: ProductPlan, *, anew: bool = False) -> Stored:
    """The product of `plan`: read if it is there and whole, else made in its own folder, under its own lock.

    With `anew` a making that was begun anew (see `Folder.begin`) is carried on; else what is there is taken.
    """
    folder = machine.product_folder(plan)
    if not anew and (stored := _read(machine, plan, folder)):
        return stored
    with folder.held(f"product {plan.product_id}"):
        if not (anew and folder.forced()) and (stored := _read(machine, plan, folder)):
            return stored
        folder.begin()
        return _make(machine, plan, folder)


def _make(machine: Machine, plan: ProductPlan, folder: Folder) -> Stored:
    clock, task = Clock(), task_module(plan.info.task)
    asked = {name: plan.groups[name] for name in plan.uses}
    about = {"product": plan.product_id}
    if hasattr(task, "check"):
        task.check(machine.context(plan, folder, plan.info.task, plan.groups, about))
    context = machine.context(plan, folder, f"method={plan.name}", asked, about)
    product = plan.module.run(context, plan.config)
    kind = str(task.PRODUCT)
    facts = {**clock.facts(), **environment(machine.device)}
    what = {"product_id": plan.product_id, "method": plan.name, "identity": plan.identity}
    file, picture = f"{kind}.safetensors", f"{kind}.png"
    digest = save_product(folder.work / file, kind, product, {**what, "made": facts})
    product.draw(folder.work / picture)
    context.tracker.rewind()
    artifacts = {"product": file, "picture": picture, **product.artifacts}
    record = {
        "schema": 1,
        **what,
        "kind": kind,
        "file": file,
        "digest": digest,
        "task": plan.info.task,
        "paper": plan.info.paper,
        "seed": plan.seed,
        "data_fingerprint": machine.known_fingerprint(plan),
        "measures": [measure.as_dict() for measure in product.measures],
        "artifacts": artifacts,
        "provenance": facts,
    }
    folder.finish(record)
    _show_pictures(context.tracker, folder.path, artifacts)
    return Stored(product, record, folder)


def _measure(machine: Machine, plan: Plan, stored: Stored, folder: Folder) -> dict[str, Any]:
    clock, task = Clock(), task_module(plan.product.info.task)
    about = {"run": plan.run_id, "product": stored.digest}
    context = machine.context(plan.product, folder, plan.product.info.task, plan.measured_with, about)
    outcome: Outcome = task.measure(context, stored.product)
    context.tracker.rewind()
    measures = [*stored.measures, *outcome.measures]
    facts = {"command": plan.command, **clock.facts(), **environment(machine.device)}
    facts["product_seconds"] = stored.record["provenance"]["seconds"]
    if stored.record["data_fingerprint"] and not _shuffled(plan):
        facts["data_fingerprint"] = stored.record["data_fingerprint"]
    result = _result(plan, stored, measures, outcome.artifacts, facts)
    folder.finish(result)
    _show_pictures(context.tracker, folder.path, outcome.artifacts)
    context.tracker.finish({_facet_name(m.name, m.facets): fmean(m.values) for m in measures})
    return result


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
        "config": {"method": plain(plan.product.config), **plan.identity, **_used(plan.product)},
        "product": {
            "id": plan.product.product_id,
            "digest": stored.digest,
            "artifacts": stored.record["artifacts"],
        },
        "measures": [asdict(measure) for measure in measures],
        "artifacts": dict(artifacts),
        "provenance": dict(facts),
    }


def _used(plan: ProductPlan) -> dict[str, Any]:
    return {name: plan.groups[name].identity() for name in plan.uses}


def _read(machine: Machine, plan: ProductPlan, folder: Folder) -> Stored | None:
    """The product in the folder, if it is whole and was made from the data that are there."""
    record = _whole_record(folder)
    if record is None:
        return None
    fingerprint = machine.known_fingerprint(plan)
    if fingerprint and record["data_fingerprint"] != fingerprint:
        say(f"{folder.path}: made from other data than those that are there now: making it anew")
        return None
    return Stored(load_product(folder.path, machine.device), record, folder)


def _whole_record(folder: Folder) -> dict[str, Any] | None:
    """The record of a product, if there is one and its file is as it was written."""
    record = folder.record()
    if record is None:
        return None
    try:
        if record["schema"] != 1 or record["product_id"] != folder.name:
            raise Damaged(f"{folder.record_file}: not the record of this product")
        file = folder.path / record["file"]
        load_tensors(file, digest=record["digest"])
    except FileNotFoundError:
        say(f"{folder.path}: its product is not there any more: making it anew")
    except (Damaged, KeyError, TypeError) as damage:
        say(f"{damage}: making it anew")
    else:
        return record
    return None


def _result_in(folder: Folder) -> dict[str, Any] | None:
    """The run's result, if it is whole."""
    content = folder.record()
    if content is None:
        return None
    try:
        parse_result(content, folder.path)
    except ValueError as error:
        say(f"{folder.record_file}: {error}: measuring anew")
        return None
    return content if content["run_id"] == folder.name else None


def _begin_anew(folder: Folder) -> None:
    with folder.held(f"product {folder.name}"):
        folder.begin(anew=True)


def _run_folder(plan: Plan) -> Folder:
    return Folder(Path(plan.options.runs_root), plan.run_id, "result.json")


def _part(plan: ProductPlan, spec: ProductSpec) -> ProductPlan:
    for declared, part in plan.parts:
        if declared == spec:
            return part
    raise RuntimeError(
        f"method={plan.name} asks for a product of {spec.method} that its `parts` do not declare"
    )


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
        say(
            "warning: profile=paper has the papers' sizes, and this is a CPU; profile=fast or smoke scales them down"
        )


def _shuffled(plan: Plan) -> bool:
    """Whether the seeds of a cell differ in their data on purpose, so that they are repeats all the same."""
    config = plan.product.groups.get("dataset")
    return config is not None and config.shuffled_labels


def _show_pictures(tracker: Tracker, folder: Path, artifacts: Mapping[str, str]) -> None:
    for role, name in artifacts.items():
        if name.endswith(".png"):
            tracker.picture(role, folder / name)


def _facet_name(name: str, facets: Mapping[str, str]) -> str:
    return "/".join([name, *facets.values()])
