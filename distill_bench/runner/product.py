"""One planned product: read if it is there and whole, else made in its own folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distill_bench.catalogue import task_module
from distill_bench.contract import ProductSpec
from distill_bench.files import Damaged, load_tensors
from distill_bench.metrics import Measure
from distill_bench.planning import GivenProduct, Parts, ProductPlan
from distill_bench.products.files import load_product, save_product
from distill_bench.provenance import Clock, environment
from distill_bench.runner import company
from distill_bench.runner.machine import Machine, data_stamp
from distill_bench.runner.reading import named
from distill_bench.store import Folder

__all__ = ["Stored", "obtain", "part_loader", "whole_record"]

SCHEMA = 1  # of a product's record


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


def obtain(machine: Machine, plan: ProductPlan, *, anew: bool = False) -> Stored:
    """The product of `plan`: read if it is there and whole, else made in its own folder, under its own lock.

    With `anew` a making that was begun anew (see `Folder.begin`) is carried on; else what is there is taken.
    """
    folder = machine.product_folder(plan)
    with contextlib.suppress(Damaged):
        if not anew and (stored := _read(machine, plan, folder)):
            return stored
    with folder.held(f"product {plan.product_id}"):
        if not (anew and folder.forced()):
            stored = named(lambda: _read(machine, plan, folder), "making it anew")
            if stored is not None:
                return stored
        folder.begin()
        return _make(machine, plan, folder)


def _make(machine: Machine, plan: ProductPlan, folder: Folder) -> Stored:
    clock, task = Clock(), task_module(plan.info.task)
    groups = {name: plan.groups[name] for name in plan.uses}
    about = {"product": plan.product_id}

    part = part_loader(machine, plan.parts, f"method={plan.name}")

    if hasattr(task, "check"):
        owner = f"task {plan.info.task}"
        task.check(
            machine.context(plan, folder, owner=owner, groups=plan.groups, about=about, load_part=part)
        )
    owner = f"method={plan.name}"
    context = machine.context(plan, folder, owner=owner, groups=groups, about=about, load_part=part)
    own = plan.product_id == machine.product_id
    for spec, _ in plan.parts if company.expected(own) else ():
        part(spec)  # made by one process before several train
    with company.training(own):
        product = plan.module.run(context, plan.config)
    kind = str(task.PRODUCT)
    facts = {**clock.facts(), **environment(machine.device)}
    what = {"product_id": plan.product_id, "method": plan.name, "identity": plan.identity}
    file, picture = f"{kind}.safetensors", f"{kind}.png"
    digest = save_product(
        folder.work / file, kind, product, {**what, "made_with": environment(machine.device)}
    )
    product.draw(folder.work / picture, plan.title)
    context.tracker.rewind()
    drawn = {"picture": picture} if (folder.work / picture).exists() else {}
    artifacts = {"product": file, **drawn, **product.artifacts}
    record = {
        "schema": SCHEMA,
        **what,
        "kind": kind,
        "file": file,
        "digest": digest,
        "task": plan.info.task,
        "paper": plan.info.paper,
        "seed": plan.seed,
        "data_fingerprint": machine.known_fingerprint(plan),
        "data_stamp": data_stamp(plan, machine.options),
        "measures": [measure.as_dict() for measure in product.measures],
        "artifacts": artifacts,
        "provenance": facts,
    }
    folder.finish(record)
    context.tracker.show_pictures(folder.path, artifacts)
    return Stored(product, record, folder)


def _read(machine: Machine, plan: ProductPlan, folder: Folder) -> Stored | None:
    """The product in the folder, if there is one. `Damaged` if it is not whole, or not of the data that are
    there."""
    record = whole_record(folder)
    if record is None:
        return None
    fingerprint = machine.known_fingerprint(plan)
    if fingerprint and record["data_fingerprint"] != fingerprint:
        raise Damaged(f"{folder.path}: made from other data than those that are there now")
    return Stored(load_product(folder.path, machine.device), record, folder)


def whole_record(folder: Folder) -> dict[str, Any] | None:
    """The record of a product, if there is one. `Damaged` if its file is not as it was written."""
    record = folder.record()
    if record is None:
        return None
    try:
        if record["schema"] != SCHEMA or record["product_id"] != folder.name:
            raise Damaged(f"{folder.record_file}: not the record of this product")
        load_tensors(folder.path / record["file"], digest=record["digest"])
        _ = [Measure(**measure) for measure in record["measures"]], record["data_fingerprint"]
        _ = float(record["provenance"]["seconds"]), dict(record["artifacts"])
    except FileNotFoundError:
        raise Damaged(f"{folder.path}: its product is not there any more") from None
    except (KeyError, TypeError, ValueError):
        raise Damaged(f"{folder.record_file}: not a whole record") from None
    return record


def part_loader(machine: Machine, parts: Parts, owner: str) -> Callable[[ProductSpec], Any]:
    """What gives the products of `parts` to `owner`, made or read when they are asked for, once."""
    made: dict[int, Any] = {}

    def load(spec: ProductSpec) -> Any:
        for number, (declared, plan) in enumerate(parts):
            if declared == spec:
                if number not in made:
                    made[number] = _product(machine, plan)
                return made[number]
        raise RuntimeError(f"{owner} asks for a product of {spec.method} that it does not declare")

    return load


def _product(machine: Machine, plan: ProductPlan | GivenProduct) -> Any:
    if isinstance(plan, GivenProduct):
        return load_product(plan.path, machine.device, digest=plan.digest)
    return obtain(machine, plan).product
