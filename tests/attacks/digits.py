"""Small networks of digits that are trained in seconds, and a run in a folder of the test."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from distill_bench import models
from distill_bench.attacks import Ball, PixelNetworks, maximise
from distill_bench.attacks.objectives import cross_entropy
from distill_bench.data import Normalise
from distill_bench.data.split import ResidentSplit
from distill_bench.groups import AttackNorm, StudentConfig
from distill_bench.interrupt import Interrupt
from distill_bench.running import Run
from distill_bench.seeding import generator
from distill_bench.store import Cache, Checkpoints
from distill_bench.tracking import Tracker

__all__ = ["EPS", "NORMALISE", "STEP", "halves", "hardened", "held_out", "make_run", "plain", "stacked"]

EPS, STEP = 0.15, 0.0375
NORMALISE = Normalise([0.3], [0.35])
TRAIN, TEST = 1437, 360


@cache
def pixels() -> tuple[Tensor, Tensor]:
    """uint8 images (N, 1, 8, 8) in a random order, and labels (N,)."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=generator(0, "digits"))
    images = torch.tensor(digits.images)[:, None].mul(255 / 16).round().to(torch.uint8)
    return images[order], torch.tensor(digits.target, dtype=torch.long)[order]


def held_out(count: int = TEST) -> ResidentSplit:
    """The first test images."""
    images, labels = (part[TRAIN : TRAIN + count] for part in pixels())
    return ResidentSplit(images, labels, 10, NORMALISE)


def mlp(seed: int) -> nn.Sequential:
    """64-128-128-10 on pixels in [0, 1]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )


def trained(net: nn.Module, epochs: int, *, hard: bool) -> nn.Module:
    """After Adam's steps on images as they are, or (`hard`) as PGD with seven steps changes them."""
    images, labels = (part[:TRAIN] for part in pixels())
    x = images.float() / 255
    adam = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(epochs):
        for rows in torch.randperm(TRAIN, generator=generator(0, "order", epoch)).split(128):
            some, answers = x[rows], labels[rows]
            if hard:
                some = maximise(
                    lambda z, y=answers: cross_entropy(net(z), y),  # type: ignore[misc]
                    some,
                    Ball(AttackNorm.linf, EPS),
                    steps=7,
                    step=STEP,
                )
            adam.zero_grad()
            F.cross_entropy(net(some), answers).backward()
            adam.step()
    return net.eval()


@cache
def plain(seed: int = 0) -> nn.Module:
    """A network trained on images as they are."""
    return trained(mlp(seed), 20, hard=False)


@cache
def hardened() -> nn.Module:
    """A network trained on attacked images."""
    return trained(mlp(0), 25, hard=True)


@cache
def stacked() -> PixelNetworks:
    """Two ConvNets in one module, trained on images as they are."""
    config = StudentConfig(width=8)
    one = models.build(config, channels=1, num_classes=10, resolution=8)
    assert isinstance(one, models.Network)
    both = one.times(2)
    models.reinitialise(both, generator(3, "weights"))
    images, labels = (part[:TRAIN] for part in pixels())
    x, adam = NORMALISE.forward(images), torch.optim.Adam(both.parameters(), lr=1e-2)
    for epoch in range(4):
        for rows in torch.randperm(TRAIN, generator=generator(1, "order", epoch)).split(128):
            adam.zero_grad()
            cross_entropy(both(x[rows]), labels[rows]).mean().backward()
            adam.step()
    return PixelNetworks([both.eval()], NORMALISE)


def halves() -> list[PixelNetworks]:
    """The networks of `stacked`, each in a module of its own."""
    (both,), parts = stacked().members, []
    for number in range(2):
        one = models.build(StudentConfig(width=8), channels=1, num_classes=10, resolution=8)
        state = {name: value.chunk(2)[number] for name, value in both.state_dict().items()}
        one.load_state_dict(state)
        parts.append(PixelNetworks([one.eval()], NORMALISE))
    return parts


def make_run(root: Path, seed: int = 0) -> Run:
    """A run on the CPU that saves after every step."""
    root.mkdir(parents=True, exist_ok=True)
    return Run(
        device=torch.device("cpu"),
        seed=seed,
        cache=Cache(root / "cache", say=lambda _: None),
        checkpoints=Checkpoints(root, {"run": "a test"}),
        tracker=Tracker(root / "metrics.jsonl"),
        interrupt=Interrupt(),
        checkpoint_seconds=0.0,
    )
