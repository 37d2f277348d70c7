"""What a run asks of its students: their accuracy on a synthetic set, and the ceiling on the whole training
set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from distill_bench import models
from distill_bench.contract import Context, SyntheticSet
from distill_bench.groups import Labels, ProtocolConfig, StudentConfig
from distill_bench.metrics import Measure
from distill_bench.seeding import derive
from distill_bench.training.batching import images_per_pass
from distill_bench.training.protocol import epoch_count, full_data_recipe, recipe
from distill_bench.training.students import Loop, accuracies, train_students

__all__ = [
    "FullData",
    "architectures",
    "evaluate",
    "evaluation_passes",
    "full_data_networks",
    "student_parts",
]


@dataclass(frozen=True)
class FullData:
    """Networks trained on the whole training set: test accuracies in %, and their weights."""

    accuracies: list[float]
    weights: list[dict[str, torch.Tensor]]


def architectures(ctx: Context) -> dict[str, StudentConfig]:
    """The networks to evaluate, by name: the run's own student, then the protocol's others at their default
    size."""
    students = {ctx.student.name: ctx.student}
    return students | {
        name: StudentConfig(name=name) for name in ctx.protocol.students if name not in students
    }


def evaluate(ctx: Context, synthetic: SyntheticSet) -> list[Measure]:
    """`accuracy` (%) at the last epoch of the protocol's networks trained on `synthetic`, for each
    architecture; with `protocol.best` also `best_accuracy`, the highest that was read.

    The run's own student comes first; `protocol.students` adds others (their configs at default size). Seeds
    of the networks follow from the run's seed. A learning rate of the set's own replaces the protocol's.
    """
    protocol, data = _recipe(ctx), ctx.dataset
    if synthetic.lr is not None:
        protocol = replace(protocol, lr=synthetic.lr)
    measures = []
    for name, student in architectures(ctx).items():
        seeds = [derive(ctx.seed, "evaluate", name, i) for i in range(protocol.nets)]
        teacher = _teacher(ctx, student) if protocol.labels is Labels.soft else None
        trained = train_students(
            partial(_build, ctx, student),
            lambda i: synthetic.images[i],
            synthetic.labels,
            protocol,
            epochs=protocol.epochs,
            seeds=seeds,
            augmentation=data.augmentation,
            device=ctx.device,
            loop=_loop(ctx, name),
            colours=data.transform,
            teacher=teacher,
            test=data.test,
        )
        found = {"accuracy": accuracies(trained, data.test), "best_accuracy": trained.best}
        measures += [
            Measure(name=n, values=values, facets={"student": name}) for n, values in found.items() if values
        ]
    return measures


def evaluation_passes(ctx: Context) -> list[tuple[str, float]]:
    """What `evaluate` costs, for each architecture: images through the network, a pass back counting as two
    more.

    With the readings of `protocol.best`, and the teacher of soft labels, but not its training.
    """
    protocol, data = _recipe(ctx), ctx.dataset
    size = ctx.ipc.images_per_class * data.num_classes
    passes = epoch_count(protocol) * size * (3 + (protocol.labels is Labels.soft))
    tests = len(data.test) * (min(protocol.readings, protocol.epochs) + 1 if protocol.best else 1)
    return [(name, float(protocol.nets * (passes + tests))) for name in architectures(ctx)]


def student_parts(ctx: Context, student: StudentConfig | None = None) -> dict[str, Any]:
    """What networks trained on the whole training set depend on, beside the data: JSON for a cache key."""
    protocol = asdict(full_data_recipe(ctx.protocol))
    keys = ("lr", "lr_drop", "momentum", "weight_decay", "batch_size", "augment", "full_steps", "full_nets")
    known = {k: getattr(v, "name", v) for k, v in asdict(student or ctx.student).items()}
    families = ctx.dataset.augmentation
    return {"student": known, "protocol": {key: protocol[key] for key in keys}, "augmentation": families}


def full_data_networks(ctx: Context, student: StudentConfig | None = None) -> FullData:
    """The run's student (or another) trained on the whole training set, `full_nets` times; made once for all
    runs, and cached."""
    data, protocol, config = ctx.dataset, full_data_recipe(ctx.protocol), student or ctx.student
    epochs = max(1, round(protocol.full_steps / math.ceil(len(data.train) / protocol.batch_size)))

    def make() -> dict[str, Any]:
        seeds = [derive(0, "full data", i) for i in range(protocol.full_nets)]
        trained = train_students(
            partial(_build, ctx, config),
            data.train.images,
            data.train.labels,
            protocol,
            epochs=epochs,
            seeds=seeds,
            augmentation=data.augmentation,
            device=ctx.device,
            loop=_loop(ctx, _full_name(ctx, config)),
        )
        return {"accuracies": accuracies(trained, data.test), "weights": trained.state_dicts()}

    parts = {"data": data.fingerprint, **student_parts(ctx, config)}
    return FullData(**ctx.cache.get("full_data", parts, make))


def _full_name(ctx: Context, student: StudentConfig) -> str:
    return "full-data" if student == ctx.student else f"full-data-{student.name}"


def _recipe(ctx: Context) -> ProtocolConfig:
    return recipe(ctx.protocol, ctx.ipc.images_per_class, ctx.dataset.num_classes)


def _teacher(ctx: Context, student: StudentConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    """Logits (B, K) of the first network of this architecture trained on the whole training set."""
    net = _build(ctx, student)
    net.load_state_dict(full_data_networks(ctx, student).weights[0])
    net = net.to(ctx.device).eval().requires_grad_(False)

    def logits(images: torch.Tensor) -> torch.Tensor:
        piece = images_per_pass(net, images.device) or len(images)
        return torch.cat([net(some) for some in images.split(piece)])

    return logits


def _build(ctx: Context, student: StudentConfig) -> nn.Module:
    data = ctx.dataset
    return models.build(
        student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
    )


def _loop(ctx: Context, name: str) -> Loop:
    return lambda part, total, state: ctx.loop(f"train-{name}-{part}", total, state)
