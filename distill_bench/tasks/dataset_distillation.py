"""Dataset distillation: a small synthetic set, measured by networks trained from scratch on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from distill_bench import attacks, information, models, training
from distill_bench.context import Context
from distill_bench.contract import Outcome
from distill_bench.errors import require
from distill_bench.groups import (
    AttackConfig,
    DatasetConfig,
    IpcConfig,
    Labels,
    ProtocolConfig,
    StudentConfig,
    TeacherConfig,
)
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.products import SyntheticSet

__all__ = ["MEASURED_WHEN", "MEASURED_WITH", "PRODUCT", "SMOKE", "TABLE", "check", "measure"]

PRODUCT = "synthetic_set"
MEASURED_WITH = ("dataset", "ipc", "student", "protocol", "attack")
MEASURED_WHEN = {"teacher": lambda groups: groups["protocol"].labels is Labels.soft}
TABLE = {"dataset": "dataset", "ipc": "ipc", "distiller": "student"}
SMOKE = ("dataset=digits", "ipc=1")


def check(ctx: Context) -> None:
    """A UserError now, and not after the distillation, for a network that cannot be built for these images,
    and for more images per class than the smallest class has."""
    config, protocol = ctx.group(DatasetConfig), ctx.group(ProtocolConfig)
    shape = {
        "channels": config.channels,
        "num_classes": config.num_classes or 2,
        "resolution": training.sides(config.resolution, protocol.canvas, protocol.pack)[0],
        "cells": protocol.canvas,
    }
    for student in training.architectures(ctx.group(StudentConfig), protocol).values():
        models.build(student, **shape)
    smallest, ipc = ctx.dataset.train.smallest_class, ctx.group(IpcConfig)
    require(
        ipc.drawn <= smallest,
        "ipc.images_per_class",
        ipc.images_per_class,
        f"at most {smallest // ipc.canvas**2}, the images of the smallest class",
    )


def measure(ctx: Context, product: SyntheticSet) -> Outcome:
    """Train students on the set.

    Measures: `accuracy` for every architecture of the protocol (see `training.evaluate`); under an attack
    also `robust_accuracy`; with `protocol.audit` what a classifier says of the images; with
    `protocol.ceiling` also `full_data_accuracy`.
    """
    student, protocol = ctx.group(StudentConfig), ctx.group(ProtocolConfig)
    per_class = ctx.group(IpcConfig).images_per_class
    teachers = ctx.products(TeacherConfig) if ctx.group_in_use(TeacherConfig) else []
    artifacts: dict[str, str] = {}
    measures = training.evaluate(
        ctx,
        ctx.dataset,
        product,
        student,
        protocol,
        per_class,
        teachers=[teacher.reads(product.transform) for teacher in teachers],
        look=partial(_attacked, ctx, artifacts) if ctx.group(AttackConfig) else None,
    )
    if protocol.audit:
        measures += _audit(ctx, product)
    if protocol.ceiling:
        ceiling = training.full_data_networks(ctx, ctx.dataset, student, protocol).accuracies
        measures.append(Measure(name="full_data_accuracy", values=ceiling, facets={"student": student.name}))
    return Outcome(measures, artifacts)


def _attacked(
    ctx: Context, artifacts: dict[str, str], name: str, students: training.Students
) -> list[Measure]:
    """`robust_accuracy` of the students of one architecture; the flags of each image go into a file, an
    example of each class into a picture."""
    networks = attacks.PixelNetworks(students.modules, ctx.dataset.transform)
    test = training.test_split(ctx.dataset, ctx.group(ProtocolConfig))
    flags = attacks.robust_flags(
        ctx, networks, networks.copies, test, ctx.group(AttackConfig), f"attack-{name}"
    )
    artifacts[f"attacked_{name}"] = f"attacked_{name}.parquet"
    flags.save(ctx.folder / artifacts[f"attacked_{name}"])
    examples = (networks, networks.copies, test, ctx.group(AttackConfig), flags)
    picture = f"attacked_{name}.png"
    if attacks.draw_examples(ctx.folder / picture, *examples, ctx.dataset.class_names, ctx.seed):
        artifacts[f"attacked_{name}_picture"] = picture
    return flags.measures({"student": name})


def _audit(ctx: Context, product: SyntheticSet) -> list[Measure]:
    """Labels and information of the images, by the student as trained on the whole training set: it had no
    part in making them."""
    student, protocol = ctx.group(StudentConfig), ctx.group(ProtocolConfig)
    net = training.full_data_network(ctx, ctx.dataset, student, protocol)
    values = information.measure(net, product.inputs(), product.labels, ctx.dataset.num_classes)
    facets = {"by": "independent"}
    return [Measure(name=name, values=[value], facets=facets) for name, value in values.items()]
