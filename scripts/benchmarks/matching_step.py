"""One step of DM, DataDAM and ATOM against the reference formulation, CIFAR-10 sizes, IPC 10.

The reference is written as the published codes are: a Python loop over classes for sampling and augmentation,
the parameters of an augmentation as a list of tensors image by image, a network built anew each step,
activations taken by hooks and cloned, class means moved to the CPU layer by layer. For the check both get the
same network and real images and no augmentation; the losses must then be equal.

It runs in a process of its own, as the published programs do, whose C library is as it comes;
`reference_kept_seconds` is the same in our process, which keeps what it frees (`keep_freed_memory`).
"datadam released" is its step with batch norm and power 1 (see `released_step`).

What ATOM's channel term costs is measured as its step against DataDAM's, both ours: a ratio of 0.97 means 3 %
more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from distill_bench import augment, models
from distill_bench.device import choose_device
from distill_bench.groups import Norm, StudentConfig
from distill_bench.matching.distribution import Statistics, _class_means, class_mean_loss
from distill_bench.methods.dataset_distillation import atom, datadam, dm
from distill_bench.seeding import generator
from scripts.timing import Apart, compared

K, IPC, PER_CLASS = 10, 10, 500
STRATEGY = "color_crop_cutout_flip_scale_rotate"
STATISTICS: dict[str, Statistics] = {
    "dm": dm.statistics,
    "datadam": lambda features: datadam.statistics(features, datadam.Config()),
    "datadam released": lambda features: datadam.statistics(features, datadam.Config(power=1.0)),
    "atom": lambda features: atom.matched(atom.Config()).statistics(features),
}
SUMMED: dict[str, list[int | tuple[int, int]]] = {
    "dm": [],
    "datadam": [1],
    "datadam released": [1],
    "atom": [1, (2, 3)],
}


class PlainConvNet(nn.Module):
    """ConvNet-3 as modules in a row, with batch norm, or with instance norm as GroupNorm."""

    def __init__(self, width: int, norm: Norm = Norm.instance) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (3, width, width):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width) if norm is Norm.batch else nn.GroupNorm(width, width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * 16, K)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).flatten(1)


def hooked(net: PlainConvNet) -> list[torch.Tensor]:
    """A list that fills with clones of every ReLU's output."""
    taken: list[torch.Tensor] = []
    for module in net.features:
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _m, _i, output: taken.append(output.clone()))
    return taken


def plain_augment(x: torch.Tensor, seed: int) -> torch.Tensor:
    """One family for the batch, the first image's parameters for all, built image by image."""
    draws = np.random.default_rng(seed)
    family = STRATEGY.split("_")[draws.integers(6)]
    n, size = len(x), x.shape[-1]
    torch.random.manual_seed(seed)
    if family in ("scale", "rotate"):
        u, v = torch.rand(n), torch.rand(n)
        angle = (u - 0.5) * 30 * math.pi / 180
        if family == "rotate":
            theta = [[[torch.cos(a), torch.sin(-a), 0], [torch.sin(a), torch.cos(a), 0]] for a in angle]
        else:
            s, t = (1 / 1.2 + w * (1.2 - 1 / 1.2) for w in (u, v))
            theta = [[[s[i], 0, 0], [0, t[i], 0]] for i in range(n)]
        grid = nn.functional.affine_grid(
            torch.tensor(theta[:1]).expand(n, 2, 3).to(x.device), list(x.shape), align_corners=False
        )
        return nn.functional.grid_sample(x, grid, align_corners=False)
    if family == "color":
        b, s, c = torch.rand(3, device=x.device)
        x = x + (b - 0.5)
        x = (x - x.mean(1, keepdim=True)) * (2 * s) + x.mean(1, keepdim=True)
        mean = x.mean((1, 2, 3), keepdim=True)
        return (x - mean) * (c + 0.5) + mean
    if family == "flip":
        return torch.where(torch.rand(1, device=x.device) < 0.5, x.flip(3), x)
    index = [torch.arange(k, device=x.device) for k in (n, size, size)]
    batch, rows, columns = torch.meshgrid(*index, indexing="ij")
    if family == "crop":
        shift = torch.randint(-4, 5, (2,), device=x.device)
        padded = nn.functional.pad(x, [1, 1, 1, 1])
        rows = (rows + shift[0] + 1).clamp(0, size + 1)
        columns = (columns + shift[1] + 1).clamp(0, size + 1)
        return padded.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)
    centre = torch.randint(0, size + 1, (2,), device=x.device)
    inside = ((rows - centre[0]) >= -size // 4) & ((rows - centre[0]) < size // 4)
    inside &= ((columns - centre[1]) >= -size // 4) & ((columns - centre[1]) < size // 4)
    return x * (~inside)[:, None]


def plain_loss(
    net: PlainConvNet,
    real: list[torch.Tensor],
    synthetic: list[torch.Tensor],
    summed: Sequence[int | tuple[int, int]],
    power: int = 4,
) -> torch.Tensor:
    """DM's loss, with attention (of a power, weight 100) that sums over each of `summed`: 1, the channels, is
    spatial attention, (2, 3) channel attention. Layer by layer and class by class on CPU copies."""
    taken = hooked(net)
    with torch.no_grad():
        output_real = net.embed(torch.cat(real))
        maps_real = [m.detach() for m in taken[:3]]
    taken.clear()
    output_synthetic = net.embed(torch.cat(synthetic))
    n, m = len(real[0]), len(synthetic[0])
    loss = torch.zeros(())
    for k in range(K):
        difference = (
            output_real[k * n : (k + 1) * n].mean(0).cpu()
            - output_synthetic[k * m : (k + 1) * m].mean(0).cpu()
        )
        loss = loss + (difference**2).sum()
    for layer, dims in ((layer, dims) for layer in range(2) for dims in summed):
        z_real, z_synthetic = (
            nn.functional.normalize((maps.abs() ** power).sum(dims).flatten(1), dim=1)
            for maps in (maps_real[layer], taken[layer])
        )
        for k in range(K):
            difference = (
                z_real[k * n : (k + 1) * n].mean(0).cpu() - z_synthetic[k * m : (k + 1) * m].mean(0).cpu()
            )
            loss = loss + 100 * (difference**2).sum()
    return loss


def _steps(
    name: str, batch_real: int, width: int, device: torch.device
) -> tuple[Callable[[], object], Callable[[], object], bool]:
    """(our step, the reference's step, whether their losses are equal for equal draws)."""
    statistics = STATISTICS[name]
    draws = generator(0, "benchmark", device=device)
    pool = torch.randn(K * PER_CLASS, 3, 32, 32, generator=draws, device=device)
    members = torch.arange(K * PER_CLASS, device=device).unflatten(0, (K, PER_CLASS))
    start = pool[members[:, :IPC]].clone()
    ours_images, plain_images = start.clone().requires_grad_(), start.flatten(0, 1).clone().requires_grad_()
    ours_sgd = torch.optim.SGD([ours_images], lr=1.0, momentum=0.5)
    plain_sgd = torch.optim.SGD([plain_images], lr=1.0, momentum=0.5)
    norm, power = (Norm.batch, 1) if name == "datadam released" else (Norm.instance, 4)
    student = StudentConfig(width=width, norm=norm)
    net = models.build(student, channels=3, num_classes=K, resolution=32).to(device).requires_grad_(False)
    class_lists = [row.tolist() for row in members]
    counter = iter(range(10**9))

    def ours() -> None:
        step = next(counter)
        models.reinitialise(net, draws)
        picks = torch.rand(K, PER_CLASS, generator=draws, device=device).topk(batch_real).indices
        real = pool[members.gather(1, picks).flatten()].unflatten(0, (K, batch_real))
        draw = augment.draw(STRATEGY, K, 1, generator(0, "families", step), draws)
        with torch.no_grad():
            target = _class_means(net, statistics, augment.apply(draw, real))
        loss = class_mean_loss(target, _class_means(net, statistics, augment.apply(draw, ours_images)))
        ours_sgd.zero_grad()
        loss.backward()
        ours_sgd.step()

    def reference() -> None:
        step = next(counter)
        plain = PlainConvNet(width, norm).to(device).requires_grad_(False)
        real, synthetic = [], []
        for k in range(K):
            chosen = np.random.default_rng(step * K + k).permutation(class_lists[k])[:batch_real]
            real.append(plain_augment(pool[torch.as_tensor(chosen, device=device)], step * K + k))
            mine = plain_images[k * IPC : (k + 1) * IPC].reshape(IPC, 3, 32, 32)
            synthetic.append(plain_augment(mine, step * K + k))
        loss = plain_loss(plain, real, synthetic, SUMMED[name], power)
        plain_sgd.zero_grad()
        loss.backward()
        plain_sgd.step()
        loss.item()

    plain = PlainConvNet(width, norm).to(device).requires_grad_(False)
    for target, source in zip(plain.parameters(), net.parameters(), strict=True):
        target.copy_(source)
    real = pool[members[:, 100 : 100 + batch_real]]
    with torch.no_grad():
        mine = float(
            class_mean_loss(_class_means(net, statistics, real), _class_means(net, statistics, ours_images))
        )
        theirs = float(plain_loss(plain, list(real), list(start), SUMMED[name], power))
    return ours, reference, math.isclose(mine, theirs, rel_tol=1e-4)


def reference_alone(name: str, batch_real: int, width: int, device: torch.device) -> Callable[[], object]:
    """The reference's step."""
    return _steps(name, batch_real, width, device)[1]


def run() -> list[dict[str, Any]]:
    """DataDAM and ATOM (64 real images a class) and DM (256), at the paper's width and at that of
    `profile=fast`."""
    device = choose_device("auto")
    sizes = [("datadam", 64, 128), ("dm", 256, 128), ("datadam", 32, 32), ("dm", 32, 32), ("atom", 64, 128)]
    rows = [against_reference(name, batch_real, width, device) for name, batch_real, width in sizes]
    return [*rows, _channel_term(64, 128, device), _channel_term(32, 32, device)]


def against_reference(name: str, batch_real: int, width: int, device: torch.device) -> dict[str, Any]:
    """The row of a method's step."""
    ours, kept, equal = _steps(name, batch_real, width, device)
    label = f"{name} step, ipc 10, {batch_real} real a class, width {width}"
    with Apart(reference_alone, name, batch_real, width, device) as reference:
        timed = compared(ours, reference, kept, repeats=3 if device.type == "cpu" else 30)
    return {"name": label, **timed, "equal": equal}


def _channel_term(batch_real: int, width: int, device: torch.device) -> dict[str, Any]:
    """ATOM's step against DataDAM's; repeated more often, as the difference is small."""
    (mine, _, one), (other, _, two) = (
        _steps(name, batch_real, width, device) for name in ("atom", "datadam")
    )
    label = f"channel term: atom step against datadam step, ipc 10, {batch_real} real a class, width {width}"
    timed = compared(mine, other, repeats=15 if device.type == "cpu" else 200)
    return {"name": label, **timed, "equal": one and two}
