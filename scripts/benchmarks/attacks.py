"""PGD-20 on test images against torchattacks 3.5, the same networks, images, radius and step.

Both tell which images are right, as they are and under attack. Ours keeps the first success of each image,
and goes on with images alone that some network still gets right. So it is measured where images break, and
where they hold (`robust`: images that are right, a radius of 1/2550), which tells what the steps themselves
cost. The accuracies may differ by a few images: random starts do, and torchattacks looks at the last iterate
alone. `differing`: the share of pixels, without a random start, in which our inner maximisation ends
elsewhere; the sign of a gradient near 0 is that of its rounding.

ResNet-8 is attacked on CIFAR-10, which is looked for in `$DISTILL_BENCH_DATA`, as it is drawn and after 400
steps of training; a perceptron, whose passes cost next to nothing, on digits. torchattacks pins an old
version of requests and is therefore no dependency: without it, ours alone is measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from distill_bench import training
from distill_bench.attacks import Ball, PixelNetworks, attack_images, maximise
from distill_bench.attacks.conditions import at_rest, single_precision
from distill_bench.attacks.objectives import cross_entropy
from distill_bench.data import ImageDataset
from distill_bench.device import choose_device
from distill_bench.groups import AttackConfig, AttackKind, AttackNorm
from distill_bench.seeding import generator
from scripts.benchmarks.classifier import cifar10, our_network
from scripts.timing import median_seconds

__all__ = ["run"]

K, BATCH, COLOUR = 10, 250, 100
INSTALL = "pip install --no-deps --target DIR torchattacks, then PYTHONPATH=DIR"
TINY = 1 / 2550


@dataclass(frozen=True)
class Case:
    """A trained network of pixels in [0, 1], and the test images that are attacked."""

    name: str
    net: nn.Module
    images: Tensor
    labels: Tensor
    eps: float

    def attack(self, *, random_start: bool = True) -> AttackConfig:
        """PGD-20 with steps of a quarter of the radius."""
        return AttackConfig(
            name="pgd20",
            kind=AttackKind.pgd,
            eps=self.eps,
            step=self.eps / 4,
            steps=20,
            random_start=random_start,
        )


def run() -> list[dict[str, Any]]:
    """A row for each case: seconds of both, accuracies (%) of both, the share of pixels that differ."""
    device = choose_device("auto")
    if importlib.util.find_spec("torchattacks") is None:
        print(f"torchattacks is not installed: {INSTALL}", file=sys.stderr)
    return [_row(case) for case in cases(device)]


def cases(device: torch.device) -> list[Case]:
    """A perceptron and ResNet-8, where images break and where they do not."""
    x, y = _digits(device)
    flat = _trained(_perceptron().to(device), x[:-BATCH], y[:-BATCH], epochs=20)
    some = x[-BATCH:], y[-BATCH:]
    rows = [
        Case("perceptron, digits", flat, *some, 0.15),
        _held(Case("perceptron, robust", flat, *some, TINY)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        cifar = cifar10(Path(folder))
        places = torch.arange(0, len(cifar.test), len(cifar.test) // COLOUR, device=device)
        some = cifar.test.unit(places), cifar.test.labels[places]
        learnt = torch.arange(0, len(cifar.train), 4, device=device)
        x, y = cifar.train.unit(learnt), cifar.train.labels[learnt]
        fresh = _resnet(cifar).to(device).eval()
        net = _trained(_resnet(cifar).to(device), x, y, epochs=4)
    name = "ResNet-8, CIFAR-10"
    rows.append(Case(f"{name}, untrained", fresh, *some, 8 / 255))
    return [*rows, Case(name, net, *some, 8 / 255), _held(Case(f"{name}, robust", net, *some, TINY))]


def _held(case: Case) -> Case:
    """The images alone that are right."""
    clean, _ = our_flags(case)
    return replace(case, images=case.images[clean], labels=case.labels[clean])


def _row(case: Case) -> dict[str, Any]:
    ours = partial(our_flags, case)
    functions: list[Callable[[], object]] = [ours]
    row: dict[str, Any] = {"name": f"PGD-20, {len(case.labels)} images, {case.name}"}
    row["clean_accuracy"], row["ours_accuracy"] = (100 * float(part.double().mean()) for part in ours())
    known = importlib.util.find_spec("torchattacks") is not None
    if known:
        theirs = partial(their_flags, case)
        functions.append(theirs)
        row["reference_accuracy"] = 100 * float(theirs()[1].double().mean())
        row["differing"] = differing(case)
    seconds = median_seconds(functions, repeats=5 if case.images.shape[-1] == 32 else 21)
    row["ours_seconds"] = seconds[0]
    if known:
        row |= {"reference_seconds": seconds[1], "ratio": seconds[1] / seconds[0]}
    return row


def our_flags(case: Case) -> tuple[Tensor, Tensor]:
    """Whether each image is right, as it is and under attack."""
    with single_precision(), at_rest(case.net):
        found = attack_images(
            case.net, 1, case.images, case.labels, case.attack(), list(range(len(case.labels)))
        )
    return found.clean[0], found.robust[0]


def their_images(case: Case, *, random_start: bool = True) -> Tensor:
    """The images that torchattacks ends at."""
    attack = case.attack(random_start=random_start)
    torchattacks = importlib.import_module("torchattacks")
    pgd = torchattacks.PGD(
        case.net, eps=attack.eps, alpha=attack.step, steps=attack.steps, random_start=random_start
    )
    images: Tensor = pgd(case.images, case.labels)
    return images


def their_flags(case: Case) -> tuple[Tensor, ...]:
    """Whether each image is right, as it is and under attack."""
    attacked = their_images(case)
    with torch.no_grad():
        return tuple(logits(case.net, images).argmax(1) == case.labels for images in (case.images, attacked))


def differing(case: Case) -> float:
    """The share of pixels in which both end at other values from the same start."""
    ours = maximise(
        lambda x: cross_entropy(logits(case.net, x), case.labels),
        case.images,
        Ball(AttackNorm.linf, case.eps),
        steps=20,
        step=case.eps / 4,
    )
    differ = (ours - their_images(case, random_start=False)).abs() > 1e-6
    return float(differ.double().mean())


def logits(net: nn.Module, images: Tensor) -> Tensor:
    """(B, K)."""
    result: Tensor = net(images)
    return result.view(len(images), -1)


class _Plain(nn.Module):
    """Logits (B, K) of pixels, as torchattacks wants them."""

    def __init__(self, inner: PixelNetworks) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> Tensor:
        return logits(self.inner, pixels)


def _perceptron() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, K)
        )


def _resnet(cifar: ImageDataset) -> nn.Module:
    net = training.initialise(our_network(), [0])
    return _Plain(PixelNetworks([net], cifar.transform))


def _trained(net: nn.Module, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    adam = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(epochs):
        for rows in torch.randperm(len(y), generator=generator(0, "order", epoch)).to(y.device).split(125):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            adam.step()
    return net.eval()


def _digits(device: torch.device) -> tuple[Tensor, Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return images.to(device), torch.tensor(digits.target, dtype=torch.long).to(device)
