"""What a run asks of its students: their accuracy on a synthetic set, and the ceiling on the whole training set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from distill_bench import models
from distill_bench.contract import Context, SyntheticSet
from distill_bench.groups import StudentConfig
from distill_bench.seeding import derive
from distill_bench.training.students import Students, accuracies, train_students

__all__ = ["FullData", "architectures", "evaluate", "full_data_networks", "student_parts"]


@dataclass(frozen=True)
class FullData:
    """Networks trained on the whole training set: test accuracies in %, and their weights."""

    accuracies: list[float]
    weights: list[dict[str, torch.Tensor]]


def architectures(ctx: Context) -> dict[str, StudentConfig]:
    """The networks to evaluate, by name: the run's own student, then the protocol's others at their default size."""
    students = {ctx.student.name: ctx.student}
    return students | {name: StudentConfig(name=name) for name in ctx.protocol.students if name not in students}


def evaluate(ctx: Context, synthetic: SyntheticSet) -> dict[str, list[float]]:
    """Test accuracies in %, at the last epoch, of the protocol's networks trained on `synthetic`, by architecture.

    The run's own student comes first; `protocol.students` adds others (their configs at default size). Seeds of
    the networks follow from the run's seed.
    """
    found = {}
    for name, config in architectures(ctx).items():
        seeds = [derive(ctx.seed, "evaluate", name, i) for i in range(ctx.protocol.nets)]
        trained = _train(ctx, config, lambda i: synthetic.images[i], synthetic.labels, ctx.protocol.epochs, seeds, name)
        found[name] = accuracies(trained, ctx.dataset.test)
    return found


def student_parts(ctx: Context) -> dict[str, Any]:
    """What networks trained on the whole training set depend on, beside the data: JSON for a cache key."""
    protocol = asdict(ctx.protocol)
    keys = ("lr", "lr_drop", "momentum", "weight_decay", "batch_size", "augment", "full_steps", "full_nets")
    student = {k: getattr(v, "name", v) for k, v in asdict(ctx.student).items()}
    families = ctx.dataset.augmentation
    return {"student": student, "protocol": {key: protocol[key] for key in keys}, "augmentation": families}


def full_data_networks(ctx: Context) -> FullData:
    """The run's student trained on the whole training set, `full_nets` times; made once for all runs, and cached."""
    data, protocol = ctx.dataset, ctx.protocol
    epochs = max(1, round(protocol.full_steps / math.ceil(len(data.train) / protocol.batch_size)))

    def make() -> dict[str, Any]:
        seeds = [derive(0, "full data", i) for i in range(protocol.full_nets)]
        trained = _train(ctx, ctx.student, data.train.images, data.train.labels, epochs, seeds, "full-data")
        return {"accuracies": accuracies(trained, data.test), "weights": trained.state_dicts()}

    parts = {"data": data.fingerprint, **student_parts(ctx)}
    return FullData(**ctx.cache.get("full_data", parts, make))


def _train(
    ctx: Context,
    student: StudentConfig,
    fetch: Callable[[torch.Tensor], torch.Tensor],
    labels: torch.Tensor,
    epochs: int,
    seeds: list[int],
    name: str,
) -> Students:
    data = ctx.dataset

    def build() -> nn.Module:
        return models.build(student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution)

    return train_students(
        build, fetch, labels, ctx.protocol, epochs=epochs, seeds=seeds, augmentation=data.augmentation,
        device=ctx.device, loop=lambda part, total, state: ctx.loop(f"train-{name}-{part}", total, state),
    )  # fmt: skip
