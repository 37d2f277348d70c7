"""Small things to train, and runs to train them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.groups import Norm, Recipe, Schedule, StudentConfig
from distill_bench.interrupt import Interrupt
from distill_bench.running import Run
from distill_bench.seeding import generator
from distill_bench.store import Cache, Checkpoints
from distill_bench.tracking import Tracker
from distill_bench.training.batches import Batches

CPU = torch.device("cpu")
CLASSES = 5


def recipe(**fields: Any) -> Recipe:
    """Plain training on small batches: three to an epoch of `images`."""
    plain: dict[str, Any] = {"epochs": 3, "batch_size": 8, "lr": 0.05, "augment": False}
    return Recipe(**{**plain, "schedule": Schedule.constant, **fields})


def images() -> tuple[Tensor, Tensor]:
    """Twenty noisy patterns of three channels, (20, 3, 8, 8), four of each class, and their labels.

    Double precision, as the network: AdamW makes steps of rounding errors where there is no gradient.
    """
    draws = generator(0, "patterns")
    labels = torch.arange(CLASSES).repeat_interleave(4)
    patterns = torch.randn(CLASSES, 3, 8, 8, generator=draws)
    noise = torch.randn(len(labels), 3, 8, 8, generator=draws)
    return (patterns[labels] + 0.3 * noise).double(), labels


def network(norm: Norm = Norm.instance, seed: int = 5) -> nn.Module:
    """A ConvNet of eight channels, drawn as `train_students` draws that of the seed."""
    net = models.build(StudentConfig(width=8, norm=norm), channels=3, num_classes=CLASSES, resolution=8)
    models.reinitialise(net, generator(seed, "weights"))
    return net.double()


def batches(asked: Recipe, seeds: tuple[int, ...] = (5,), families: str = "") -> Batches:
    """The images as networks of these seeds see them."""
    x, y = images()
    return Batches(x.__getitem__, y, asked, list(seeds), families, None)


def plain_loop(_name: str, total: int, _state: dict[str, Any]) -> Iterator[int]:
    """A loop that saves nothing."""
    return iter(range(total))


def run_in(folder: Path) -> Run:
    """A run that works in this folder; another one there goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    return Run(
        device=CPU,
        seed=0,
        cache=Cache(folder / "cache"),
        checkpoints=Checkpoints(folder, {"about": "a test"}),
        tracker=Tracker(folder / "metrics.jsonl"),
        interrupt=Interrupt(),
        log_every=1,
    )
