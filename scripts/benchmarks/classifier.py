"""Cross-entropy training of ResNet-8 on CIFAR-10 by the recipe `crd_240` against torch's ordinary loop.

Ours is the whole path of `method=ce`: `classification.train_classifier` in a `Run`, with its checkpoints and
curves. The ordinary loop has a `DataLoader` of two workers, torchvision's transforms of PIL images that are
held in memory, `torch.optim.SGD`, and reads the loss at every step. Its network is ResNet-8 as published
code has it, or, to tell the loop from the network, ours. Each is a process of its own: after some first steps
it times `STEPS` of the 782 of an epoch. `equal`: from equal weights, images and draws, the losses of the
first steps are equal up to rounding.

CIFAR-10 is looked for in `$DISTILL_BENCH_DATA`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional as pictures

from distill_bench import classification, data, models, training
from distill_bench.classification import ClassifierConfig
from distill_bench.device import choose_device
from distill_bench.groups import DatasetConfig, RecipeConfig, StudentConfig, TrainsetConfig
from distill_bench.interrupt import Interrupt
from distill_bench.planning import compose
from distill_bench.planning.typed import typed
from distill_bench.running import Run
from distill_bench.seeding import generator
from distill_bench.store import Cache, Checkpoints
from distill_bench.tracking import Tracker

__all__ = ["run"]

TOP = Path(__file__).resolve().parent.parent.parent
FIRST, STEPS, REPEATS, CHECKED = 20, 100, 3, 3
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
WAYS = {"ours": "", "plain": "ResNet-8 as published", "loop": "our network"}


class PlainBlock(nn.Module):
    """Two convolutions 3x3 and a shortcut."""

    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module | None = None
        if stride != 1 or incoming != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(incoming, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class PlainResNet8(nn.Module):
    """A stem, three blocks of 16, 32 and 64 channels, the mean, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            PlainBlock(16, 16, 1),
            PlainBlock(16, 32, 2),
            PlainBlock(32, 64, 2),
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.fc(x)
        return logits


class Pictures(Dataset[tuple[Tensor, int]]):
    """Labelled images as torchvision's CIFAR-10 holds them."""

    def __init__(self, cifar: data.ImageDataset, transform: Callable[[Image.Image], Tensor]) -> None:
        pixels = torch.cat(list(cifar.train.pixels(10_000)))
        self.images = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.labels, self.transform = cifar.train.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def run() -> list[dict[str, Any]]:
    """A row for each network of the ordinary loop: seconds of an epoch (scaled), ratio, equal."""
    with tempfile.TemporaryDirectory() as folder:
        equal, steps = same_losses(cifar10(Path(folder))), 0
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(REPEATS):
            for way, seconds in took.items():
                command = [sys.executable, "-m", "scripts.benchmarks.classifier", way, folder]
                done = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                seconds.append(found["seconds"])
                steps = found["steps"]
    ours = median(took["ours"]) * steps / STEPS
    rows = []
    for way in ("plain", "loop"):
        reference = median(took[way]) * steps / STEPS
        rows.append(
            {
                "name": f"an epoch of ce, ResNet-8, CIFAR-10, crd_240; the ordinary loop with {WAYS[way]}",
                "images": STEPS * recipe().batch_size,
                "ours_seconds": ours,
                "reference_seconds": reference,
                "ratio": reference / ours,
                "equal": equal[way],
            }
        )
    return rows


def cifar10(folder: Path) -> data.ImageDataset:
    """CIFAR-10, its decoded images in a cache in `folder`."""
    config = typed(DatasetConfig, compose(["method=ce", "dataset=cifar10"]).config.dataset, "dataset")
    root = Path(os.environ["DISTILL_BENCH_DATA"])
    return data.load(config, root, Cache(folder / "cache"), choose_device("auto"))


def recipe() -> RecipeConfig:
    """`crd_240`."""
    words = ["method=ce", "dataset=cifar10", "recipe=crd_240"]
    return typed(RecipeConfig, compose(words).config.recipe, "recipe")


def student() -> StudentConfig:
    """`resnet8`."""
    return StudentConfig(name="resnet8")


class Timed(Run):
    """A run whose loops stop after `FIRST` + `STEPS` steps; `seconds` is what the last `STEPS` took."""

    seconds = 0.0

    def loop(self, name: str, total: int, state: dict[str, Any], *_: Any) -> Iterator[int]:
        began = 0.0
        for step in super().loop(name, min(total, FIRST + STEPS), state):
            began = time.perf_counter() if step == FIRST else began
            yield step
            self.seconds = time.perf_counter() - began


def our_seconds(cifar: data.ImageDataset, folder: Path) -> float:
    """Of `STEPS` steps of the package's own path."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        work = Timed(
            device=choose_device("auto"),
            seed=0,
            cache=Cache(folder / "cache"),
            checkpoints=Checkpoints(Path(own), {}),
            tracker=Tracker(Path(own) / "metrics.jsonl"),
            interrupt=Interrupt(),
        )
        images = classification.training_images(cifar, TrainsetConfig(), [])
        settings, objective = ClassifierConfig(), training.CrossEntropy()
        classification.train_classifier(work, cifar, images, student(), recipe(), settings, objective)
        return work.seconds


def their_seconds(cifar: data.ImageDataset, net: nn.Module) -> float:
    """Of `STEPS` steps of the ordinary loop."""
    state = cifar.transform.state()
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(state["mean"], state["std"]),
        ]
    )
    loader = DataLoader(Pictures(cifar, transform), batch_size=64, shuffle=True, num_workers=2)
    began = 0.0
    for step, _ in enumerate(ordinary_loop(net, loader)):
        began = time.perf_counter() if step == FIRST - 1 else began
        if step == FIRST + STEPS - 1:
            break
    return time.perf_counter() - began


def ordinary_loop(net: nn.Module, batches: Iterable[Any]) -> Iterator[float]:
    """The loss of each step, after it was taken."""
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    criterion = nn.CrossEntropyLoss()
    net.train()
    for images, labels in batches:
        loss = criterion(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()


def same_losses(cifar: data.ImageDataset) -> dict[str, bool]:
    """Whether the first losses of each ordinary loop are ours, from the same weights and draws."""
    config = replace(recipe(), epochs=1)
    labels, seed = cifar.train.labels, 0
    start = training.initialise(our_network(), [seed])
    ours, count = list[float](), CHECKED * config.batch_size
    training.train_students(
        our_network,
        cifar.train.images,
        labels,
        config,
        epochs=1,
        seeds=[seed],
        augmentation=cifar.augmentation,
        device=labels.device,
        loop=lambda _name, _total, _state: iter(range(CHECKED)),
        colours=cifar.transform,
        log=lambda _step, loss: ours.append(float(loss)),
    )
    order = torch.randperm(len(labels), generator=generator(seed, "order", 0))[:count]
    draws = generator(seed, "augment", 0, device=labels.device)
    random = torch.rand(len(labels), 4, generator=draws, device=labels.device)[:count].tolist()
    plain = PlainResNet8().to(labels.device)
    for target, source in zip(plain.parameters(), start.parameters(), strict=True):
        target.data.copy_(source.data)
    state, pixels = cifar.transform.state(), cifar.train.pixels_at(order).cpu()
    images = [_changed(image, row, state) for image, row in zip(pixels, random, strict=True)]
    inputs = torch.stack(images).to(labels.device).split(config.batch_size)
    answers = labels[order].split(config.batch_size)
    found = {}
    for way, net in (("plain", plain), ("loop", start)):
        theirs = list(ordinary_loop(net, zip(inputs, answers, strict=True)))
        found[way] = torch.allclose(torch.tensor(theirs), torch.tensor(ours), rtol=1e-4)
    return found


def _changed(image: Tensor, draws: list[float], state: dict[str, Any]) -> Tensor:
    """What the reference's transforms make of an image (C, H, W), by given draws in [0, 1)."""
    down, right, mirrored, _ = draws
    padded = pictures.pad(Image.fromarray(image.permute(1, 2, 0).numpy()), [4])
    cropped = pictures.crop(padded, int(9 * down), int(9 * right), 32, 32)
    turned = pictures.hflip(cropped) if mirrored < 0.5 else cropped
    return pictures.normalize(pictures.to_tensor(turned), state["mean"], state["std"])


def our_network() -> nn.Module:
    """ResNet-8 of the package, for CIFAR-10."""
    return models.build(student(), channels=3, num_classes=10, resolution=32)


def main(way: str, folder: Path) -> None:
    """In a process of its own: write the seconds, and the steps of an epoch, to standard output."""
    cifar = cifar10(folder)
    if way == "ours":
        seconds = our_seconds(cifar, folder)
    else:
        net = PlainResNet8() if way == "plain" else our_network()
        seconds = their_seconds(cifar, net)
    print(json.dumps({"seconds": seconds, "steps": training.steps_of_epoch(recipe(), len(cifar.train))}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
