"""One run by several processes: process 0 makes and measures everything, the others share in training its
network.

Process 0 says when that begins. Until then the others wait, so that what the network learns from (teachers,
training sets, decoded images) is made once, by one process; then they read it, and go through the method as
process 0 does, in a folder of their own that is dropped at the end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from distill_bench import processes
from distill_bench.catalogue import task_module
from distill_bench.errors import UserError
from distill_bench.interrupt import Interrupt
from distill_bench.planning import Plan
from distill_bench.products.files import RECORD
from distill_bench.runner import company
from distill_bench.runner.machine import Machine
from distill_bench.runner.product import part_loader
from distill_bench.store import Folder

__all__ = ["execute_together"]


def execute_together(
    plan: Plan, interrupt: Interrupt, execute: Callable[[], dict[str, Any]]
) -> dict[str, Any] | None:
    """The result of `execute`, which process 0 alone goes through; None in the others.

    UserError, in each, for a method that does not train one network.
    """
    makes = task_module(plan.product.info.task).PRODUCT
    if makes != "classifier":
        reason = f"method={plan.product.name} makes a {makes}; start it as one process"
        raise UserError(f"several processes train one network of the task classification: {reason}")
    if not processes.is_writer():
        _help(plan, interrupt)
        return None
    with processes.alone():
        try:
            return execute()
        finally:
            if processes.waiting() and not company.joined():
                processes.tell(company.NOTHING)


def _help(plan: Plan, interrupt: Interrupt) -> None:
    """Wait for process 0, and train with it."""
    if processes.tell(company.NOTHING) != company.TRAIN:
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        machine = Machine.of(plan.options, interrupt)
        product, owner = plan.product, f"method={plan.product.name}"
        own = Folder(Path(folder), product.product_id, RECORD)
        own.begin()
        context = machine.context(
            product,
            own,
            owner=owner,
            groups={name: product.groups[name] for name in product.uses},
            about={"product": product.product_id},
            load_part=part_loader(machine, product.parts, owner),
        )
        product.module.run(context, product.config)
