"""What students learn of a synthetic set, and of the whole training set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.data import ZoomedSplit
from distill_bench.groups import Labels, ProtocolConfig, StudentConfig
from distill_bench.metrics import Measure
from distill_bench.progress import Phase
from distill_bench.seeding import derive
from distill_bench.training.batching import images_per_pass
from distill_bench.training.canvas import Scaled, pack, sides
from distill_bench.training.fit import Loop
from distill_bench.training.objectives import CrossEntropy, Objective, SoftLabels, mean_teacher
from distill_bench.training.protocol import protocol_for
from distill_bench.training.students import TOGETHER, Students, accuracies, train_students

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset, Split
    from distill_bench.products import SyntheticSet
    from distill_bench.running import Run

__all__ = [
    "FullData",
    "architectures",
    "evaluate",
    "full_data_network",
    "full_data_networks",
    "student_parts",
    "test_split",
]


Teacher = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) as students see them -> logits (B, K)."""


@dataclass(frozen=True)
class FullData:
    """Networks trained on the whole training set: test accuracies in %, and their weights."""

    accuracies: list[float]
    weights: list[dict[str, Tensor]]


def architectures(student: StudentConfig, protocol: ProtocolConfig) -> dict[str, StudentConfig]:
    """The networks to evaluate, by name: `student`, then the protocol's others at their default size."""
    others = {name: StudentConfig(name=name) for name in protocol.students if name != student.name}
    return {student.name: student, **others}


def test_split(data: ImageDataset, protocol: ProtocolConfig) -> Split:
    """The test images as students under the protocol see them."""
    return ZoomedSplit(data.test) if protocol.test_resize else data.test


def evaluate(
    run: Run,
    data: ImageDataset,
    synthetic: SyntheticSet,
    student: StudentConfig,
    protocol: ProtocolConfig,
    per_class: int,
    teachers: Sequence[Teacher] = (),
    look: Callable[[str, Students], list[Measure]] | None = None,
) -> list[Measure]:
    """Train the protocol's networks on `synthetic`, `per_class` images of each class, and test them.

    The measure `accuracy` (%) of each architecture is that of the last epoch; with `protocol.best`,
    `best_accuracy` is the highest that was read. Where the protocol packs, `per_class` counts canvases, and
    `accuracy` with the facet `side` is that on test images of the other scale. `student` comes first. The
    seeds of the networks follow from the run's seed. A learning rate of the set's own replaces the
    protocol's. Soft labels are the mean predictions of `teachers`, which take images as students see them;
    without any, those of the same network trained on the whole training set. `look` is shown the students of
    each architecture, for further measures.
    """
    resolved = protocol_for(protocol, per_class, data.num_classes)
    if synthetic.lr is not None:
        resolved = replace(resolved, lr=synthetic.lr)
    images, labels = _seen(synthetic, protocol)
    test, measures = test_split(data, protocol), list[Measure]()
    networks = architectures(student, protocol)
    phase = Phase("students", protocol.nets * len(networks))
    for name, network in networks.items():
        seeds = [derive(run.seed, "evaluate", name, i) for i in range(protocol.nets)]
        trained = train_students(
            partial(_fresh, network, data, protocol),
            images.__getitem__,
            labels,
            resolved,
            epochs=resolved.epochs,
            seeds=seeds,
            augmentation=data.augmentation,
            device=run.device,
            loop=_loop(run, name, phase, protocol.nets),
            batching=protocol.batching,
            colours=data.transform,
            objective=_objective(run, data, network, protocol, teachers),
            test=test if protocol.best else None,
            readings=protocol.readings,
        )
        values = {"accuracy": accuracies(trained, test), "best_accuracy": trained.best}
        measures += [
            Measure(name=measure, values=each, facets={"student": name})
            for measure, each in values.items()
            if each
        ]
        measures += _other_scale(trained, data, protocol, name)
        measures += look(name, trained) if look else []
    return measures


def _fresh(network: StudentConfig, data: ImageDataset, protocol: ProtocolConfig) -> nn.Module:
    """The network for what the protocol shows: images, or canvases, of whose parts each has its prediction;
    its first weights are drawn by the law that the protocol names for it, or by its own."""
    side, _ = sides(data.resolution, protocol.canvas, protocol.pack)
    net = models.for_data(network, data, side, protocol.canvas)
    if network.name in protocol.initial:
        net.initial = protocol.initial[network.name]  # type: ignore[assignment]
    return net


def _seen(synthetic: SyntheticSet, protocol: ProtocolConfig) -> tuple[Tensor, Tensor]:
    """What the protocol shows of a set: its images, normalised, or canvases of them; and their labels."""
    if protocol.canvas == 1:
        return synthetic.inputs(), synthetic.labels
    images, labels = pack(synthetic.images, synthetic.labels, protocol.canvas, protocol.pack)
    return replace(synthetic, images=images, labels=labels).inputs(), labels


def _other_scale(trained: Students, data: ImageDataset, protocol: ProtocolConfig, name: str) -> list[Measure]:
    """Where images are packed, `accuracy` on test images of the other scale (`canvas.sides`): a network that
    has seen small objects alone may not know large ones. Not of networks that are too deep for them."""
    _, side = sides(data.resolution, protocol.canvas, protocol.pack)
    shape = (data.channels, side, side)
    if protocol.canvas == 1 or not models.keeps_positions(trained.modules[0], shape):
        return []
    values = accuracies(trained, Scaled(data.test, side))
    return [Measure(name="accuracy", values=values, facets={"student": name, "side": str(side)})]


def _objective(
    run: Run,
    data: ImageDataset,
    network: StudentConfig,
    protocol: ProtocolConfig,
    teachers: Sequence[Teacher],
) -> Objective:
    """What the protocol trains this network towards."""
    if protocol.labels is Labels.hard:
        return CrossEntropy()
    own = teachers or [_teacher(full_data_network(run, data, network, protocol))]
    return SoftLabels(mean_teacher(own, protocol.temperature), protocol.temperature)


def student_parts(data: ImageDataset, student: StudentConfig, protocol: ProtocolConfig) -> dict[str, Any]:
    """What a network of the whole training set depends on, beside the images: JSON for a cache key."""
    return {
        "student": student.identity(),
        "protocol": protocol.product_identity(),
        "augmentation": data.augmentation,
    }


def full_data_networks(
    run: Run, data: ImageDataset, student: StudentConfig, protocol: ProtocolConfig
) -> FullData:
    """`full_nets` networks trained on the whole training set; made once for all runs, and cached."""
    full = protocol.full_data()
    epochs = max(1, round(full.full_steps / math.ceil(len(data.train) / full.batch_size)))

    def make(part: Run) -> dict[str, Any]:
        trained = train_students(
            partial(models.for_data, student, data),
            data.train.images,
            data.train.labels,
            full,
            epochs=epochs,
            seeds=[derive(0, "full data", i) for i in range(full.full_nets)],
            augmentation=data.augmentation,
            device=part.device,
            loop=_loop(part, "full-data", Phase("full data", full.full_nets), full.full_nets),
            batching=full.batching,
        )
        return {"accuracies": accuracies(trained, data.test), "weights": trained.state_dicts()}

    parts = {"data": data.fingerprint, **student_parts(data, student, protocol)}
    return FullData(**run.cached("full_data", parts, make))


def full_data_network(
    run: Run, data: ImageDataset, student: StudentConfig, protocol: ProtocolConfig
) -> nn.Module:
    """The first network of `full_data_networks`: frozen, in evaluation mode, on the run's device."""
    net = models.for_data(student, data)
    net.load_state_dict(full_data_networks(run, data, student, protocol).weights[0])
    return net.to(run.device).eval().requires_grad_(False)


def _teacher(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The logits (B, K) of `net` for images (B, C, H, W), computed a few images at a time."""

    def logits(images: Tensor) -> Tensor:
        size = images_per_pass(net, images.device) or len(images)
        return torch.cat([net(piece) for piece in images.split(size)])

    return logits


def _loop(run: Run, name: str, phase: Phase, networks: int) -> Loop:
    """The loops that train networks of one kind, `networks` in all, together or one after another."""

    def loop(part: str, total: int, state: dict[str, Any]) -> Iterator[int]:
        each = networks if part == TOGETHER else 1
        return run.loop(f"train-{name}-{part}", total, state, phase, each)

    return loop
