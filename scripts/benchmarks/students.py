"""Evaluating a synthetic set: five students trained on ten images a class and tested, against the plain way.

The plain way is that of the published codes: one network after another, a fresh module each; a DataLoader
over the tensor; augmentation with one affine matrix an image from a Python list, and whole int64 index
tensors for crop and cutout; the loss and the number of right answers read after every batch. `equal`: from
the same weights and without augmentation (the batch is the whole set, so its order does not matter), both end
at the same logits. It runs in a process of its own, as that of `matching_step`.

The 32-pixel images are class patterns with noise, since only their size matters here; the 8-pixel ones are
real digits. Shares of a step's time, measured on its own: `augmentation_share`, `model_share` (forward and
backward passes). For the protocols with crops and CutMix only these shares are measured: there is no
published loop without a DataLoader's worker processes to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from distill_bench import augment, models, training
from distill_bench.data import Normalise
from distill_bench.device import choose_device
from distill_bench.groups import Batching, ProtocolConfig, StudentConfig
from distill_bench.planning import compose, typed
from distill_bench.seeding import generator
from distill_bench.training.batches import Batches
from distill_bench.training.batching import images_per_pass, networks_together
from scripts.timing import Apart, median_seconds

SEEDS = [1, 2, 3, 4, 5]
K, IPC = 10, 10


@dataclass(frozen=True)
class Case:
    """A synthetic set, the images it is tested on, and a student."""

    name: str
    data: tuple[Tensor, Tensor]  # images, labels
    test: tuple[Tensor, Tensor]
    width: int
    epochs: int
    strategy: str
    seeds: list[int] = field(default_factory=lambda: SEEDS)

    @property
    def device(self) -> torch.device:
        return self.data[0].device

    def build(self) -> nn.Module:
        _, channels, resolution, _ = self.data[0].shape
        config = StudentConfig(width=self.width)
        return models.build(config, channels=channels, num_classes=K, resolution=resolution).to(self.device)

    def plain(self) -> nn.Module:
        """The same ConvNet as torch's own modules in a row."""
        _, channels, size, _ = self.data[0].shape
        layers: list[nn.Module] = []
        for _ in range(models.depth_for(size)):
            norm = nn.GroupNorm(self.width, self.width)
            layers += [
                nn.Conv2d(channels, self.width, 3, padding=1),
                norm,
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
            channels, size = self.width, size // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(self.width * size * size, K)).to(self.device)

    def __len__(self) -> int:
        return len(self.test[0])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.test[0].split(size), self.test[1].split(size), strict=True)


def plain_augment(x: Tensor, strategy: str) -> Tensor:
    """One random family for the batch, parameters for each image, image by image where the published code
    does so."""
    families = strategy.split("_")
    family = families[np.random.randint(len(families))]
    n, size = len(x), x.shape[-1]
    if family == "color":
        b, s, c = (torch.rand(n, 1, 1, 1, device=x.device) for _ in range(3))
        x = x + (b - 0.5)
        mean = x.mean(1, keepdim=True)
        x = (x - mean) * (2 * s) + mean
        mean = x.mean((1, 2, 3), keepdim=True)
        return (x - mean) * (c + 0.5) + mean
    if family == "flip":
        return torch.where(torch.rand(n, 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    if family in ("scale", "rotate"):
        matrices: list[list[list[Any]]]
        if family == "scale":
            s, t = (torch.rand(n) * (1.2 - 1 / 1.2) + 1 / 1.2 for _ in range(2))
            matrices = [[[s[i], 0, 0], [0, t[i], 0]] for i in range(n)]
        else:
            angle = (torch.rand(n) - 0.5) * 2 * 15 / 180 * math.pi
            matrices = [[[torch.cos(a), torch.sin(-a), 0], [torch.sin(a), torch.cos(a), 0]] for a in angle]
        grid = F.affine_grid(torch.tensor(matrices), list(x.shape), align_corners=False).to(x.device)
        return F.grid_sample(x, grid, align_corners=False)
    batch, row, column = torch.meshgrid(
        *(torch.arange(length, device=x.device) for length in (n, size, size)), indexing="ij"
    )
    if family == "crop":
        reach = int(size * 0.125 + 0.5)
        down, right = (torch.randint(-reach, reach + 1, (n, 1, 1), device=x.device) for _ in range(2))
        row, column = (row + down + 1).clamp(0, size + 1), (column + right + 1).clamp(0, size + 1)
        return F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1).contiguous()[batch, row, column].permute(0, 3, 1, 2)
    side = int(size * 0.5 + 0.5)
    centres = [torch.randint(0, size + 1 - side % 2, (n, 1, 1), device=x.device) for _ in range(2)]
    batch, row, column = torch.meshgrid(
        *(torch.arange(length, device=x.device) for length in (n, side, side)), indexing="ij"
    )
    row, column = (
        (a + c - side // 2).clamp(0, size - 1) for a, c in zip((row, column), centres, strict=True)
    )
    mask = torch.ones(n, size, size, dtype=x.dtype, device=x.device)
    mask[batch, row, column] = 0
    return x * mask[:, None]


def plain_epoch(net: nn.Module, loader: Any, optimiser: torch.optim.Optimizer | None, strategy: str) -> float:
    """One epoch of training, or of testing without an optimiser; the share of right answers."""
    net.train(optimiser is not None)
    criterion = nn.CrossEntropyLoss()
    right, seen, total = 0, 0, 0.0
    for x, y in loader:
        if optimiser is not None and strategy:
            x = plain_augment(x, strategy)
        output = net(x)
        loss = criterion(output, y)
        right += int(np.sum(np.equal(np.argmax(output.detach().cpu().numpy(), -1), y.cpu().numpy())))
        total += loss.item() * len(y)
        seen += len(y)
        if optimiser is not None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return right / seen


def plain_students(case: Case, starts: Sequence[nn.Module] = ()) -> list[nn.Module]:
    """The networks one after another, each tested; `starts` have the weights to begin with, to compare
    results."""
    nets = []
    for number in range(len(case.seeds)):
        net = case.plain()
        if starts:
            net.load_state_dict(
                dict(zip(net.state_dict(), starts[number].state_dict().values(), strict=True))
            )
        rate = 0.01
        loader = DataLoader(TensorDataset(*case.data), batch_size=256, shuffle=True)
        optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        for epoch in range(case.epochs + 1):
            plain_epoch(net, loader, optimiser, case.strategy)
            if epoch == case.epochs // 2 + 1:
                rate *= 0.1
                optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        test = DataLoader(TensorDataset(*case.test), batch_size=256)
        plain_epoch(net, test, None, "")
        nets.append(net)
    return nets


def our_students(case: Case, batching: Batching) -> training.Students:
    """The same through the package."""
    images, labels = case.data
    protocol = ProtocolConfig(augment=bool(case.strategy))
    students = training.train_students(
        case.build,
        lambda i: images[i],
        labels,
        protocol,
        epochs=case.epochs,
        seeds=case.seeds,
        augmentation=case.strategy,
        device=case.device,
        loop=lambda _name, total, _state: iter(range(total)),
        batching=batching,
    )
    training.accuracies(students, case)
    return students


def same_logits(case: Case) -> dict[Batching, bool]:
    """Whether both ways end at the same logits when nothing is random, for each way of batching."""
    quiet = replace(case, strategy="", epochs=min(case.epochs, 3), seeds=SEEDS[:2])
    starts = [training.initialise(case.build(), [seed]) for seed in quiet.seeds]
    some, nets = case.test[0][:50], plain_students(quiet, starts)
    with torch.no_grad():
        theirs = torch.stack([net.eval()(some) for net in nets])
    ways = (Batching.sequential, Batching.stacked)
    return {
        way: torch.allclose(our_students(quiet, way).logits(some), theirs, rtol=1e-3, atol=1e-3)
        for way in ways
    }


def shares(case: Case) -> dict[str, float]:
    """Seconds of one step of one network in augmentation, and in forward and backward passes, as shares of
    both."""
    net, (images, labels) = case.build(), case.data
    x = images[None]
    draws = [augment.draw(case.strategy, 1, x.shape[1], generator(0, "share", i)) for i in range(12)]
    draws = [augment.Draw(draw.families, draw.uniforms.to(x.device)) for draw in draws]
    piece = images_per_pass(net, x.device) or len(images)

    def model() -> None:
        for some, answers in zip(images.split(piece), labels.split(piece), strict=True):
            F.cross_entropy(net(some), answers).backward()

    families, passes = median_seconds([lambda: [augment.apply(draw, x) for draw in draws], model], repeats=3)
    families /= len(draws)
    return {"augmentation_share": families / (families + passes), "model_share": passes / (families + passes)}


def crop_rows(case: Case) -> list[dict[str, Any]]:
    """Seconds of an epoch of one network by the protocols with crops and CutMix, and the share that batches
    take."""
    images, labels = case.data
    teacher = case.build().eval().requires_grad_(False)
    normalise = Normalise([0.5] * images.shape[1], [0.25] * images.shape[1], case.device)
    rows = []
    for name in ("minimax_hard", "rded_soft"):
        content = compose([f"protocol={name}"]).config.protocol
        protocol = training.protocol_for(typed(ProtocolConfig, content, "protocol"), IPC, K)
        batches = Batches(lambda i: images[i], labels, protocol, SEEDS[:1], case.strategy, normalise)
        whole = partial(
            training.train_students,
            case.build,
            lambda i: images[i],
            labels,
            protocol,
            epochs=3,
            seeds=SEEDS[:1],
            augmentation=case.strategy,
            device=case.device,
            loop=lambda _name, total, _state: iter(range(total)),
            colours=normalise,
            objective=training.SoftLabels(teacher, protocol.temperature) if name == "rded_soft" else None,
        )
        three = partial(lambda batches: [list(batches.epoch(number)) for number in range(3)], batches)
        augmented, trained = median_seconds([three, whole], repeats=3)
        share = augmented / trained
        rows.append(
            {
                "name": f"1 student, ipc {IPC}, {case.name}, an epoch of {name}",
                "ours_seconds": trained / 3,
                "augmentation_share": share,
                "model_share": 1 - share,
            }
        )
    return rows


def cases(device: torch.device) -> list[Case]:
    """ConvNet-3 at the paper's width and at that of `profile=fast` on 32-pixel images, ConvNet-2 on
    digits."""
    draws = generator(0, "benchmark")
    patterns = torch.randn(K, 3, 32, 32, generator=draws)
    labels = torch.arange(K).repeat_interleave(IPC)
    images = patterns[labels] + torch.randn(K * IPC, 3, 32, 32, generator=draws)
    test_labels = torch.arange(K).repeat_interleave(20)
    test = patterns[test_labels] + torch.randn(len(test_labels), 3, 32, 32, generator=draws)
    colour = on(device, images, labels), on(device, test, test_labels)

    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None], torch.tensor(digits.target)
    x = (x - x.mean()) / x.std()
    first = torch.cat([(y == k).nonzero()[:IPC, 0] for k in range(K)])
    grey = on(device, x[first], y[first]), on(device, x[1200:], y[1200:])
    every = "color_crop_cutout_flip_scale_rotate"
    return [
        Case("ConvNet-3 width 128, 32 pixels", *colour, width=128, epochs=1, strategy=every),
        Case("ConvNet-3 width 32, 32 pixels", *colour, width=32, epochs=4, strategy=every),
        Case(
            "ConvNet-2 width 16, digits",
            *grey,
            width=16,
            epochs=24,
            strategy="color_crop_cutout_scale_rotate",
        ),
    ]


def on(device: torch.device, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A labelled set on the device."""
    return images.to(device), labels.to(device)


def reference_alone(number: int, device: torch.device) -> Callable[[], object]:
    """The plain way for a case."""
    return partial(plain_students, cases(device)[number])


def run() -> list[dict[str, Any]]:
    """Rows for every case and way of batching; `chosen` marks the way that `auto` takes on this device."""
    device, rows = choose_device("auto"), []
    for number, case in enumerate(cases(device)):
        ways = [Batching.sequential, Batching.stacked]
        functions: list[Callable[[], object]] = [partial(our_students, case, way) for way in ways]
        with Apart(reference_alone, number, device) as apart:
            *ours, reference, kept = median_seconds(
                [*functions, apart, partial(plain_students, case)], repeats=2 if case.width == 128 else 3
            )
        equal, parts = same_logits(case), shares(case)
        together = networks_together(case.build(), Batching.auto, len(SEEDS), K * IPC, device)
        for way, seconds in zip(ways, ours, strict=True):
            what = f"{len(SEEDS)} students, ipc {IPC}, {case.name}"
            rows.append(
                {
                    "name": f"{what}, {case.epochs + 1} epochs, {way.name}",
                    "ours_seconds": seconds,
                    "reference_seconds": reference,
                    "ratio": reference / seconds,
                    "reference_kept_seconds": kept,
                    "ratio_to_kept": kept / seconds,
                    "equal": equal[way],
                    "chosen": (together > 1) == (way is Batching.stacked),
                    **parts,
                }
            )
    first, second, _ = cases(device)
    return rows + crop_rows(first) + crop_rows(second)
