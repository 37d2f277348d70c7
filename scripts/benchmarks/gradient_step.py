"""One matching step of DC and of DSA against the reference formulation, CIFAR-10 sizes.

The reference is written as the published code is: a Python loop over classes for sampling, augmentation and
both gradients, the distance layer by layer and class by class, and a backward pass that also reaches the
network's weights. It runs in a process of its own, as that of `matching_step`. For the check both get the
same weights and real images and no augmentation; the gradients of every class and that of the synthetic
images must then be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench import augment, models
from distill_bench.device import choose_device
from distill_bench.groups import StudentConfig
from distill_bench.matching.gradients import ClassNetworks, class_gradients, image_gradient
from distill_bench.seeding import generator
from scripts.benchmarks.matching_step import PER_CLASS, STRATEGY, K, PlainConvNet, plain_augment
from scripts.timing import Apart, compared

Gradients = list[Tensor]


class PlainClassifier(PlainConvNet):
    """ConvNet-3 with its classifier."""

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed(x))


def plain_gradients(net: PlainClassifier, images: Tensor, label: int, create_graph: bool) -> Gradients:
    """Of one class, all its images in one pass."""
    labels = torch.full((len(images),), label, device=images.device)
    return list(
        torch.autograd.grad(
            F.cross_entropy(net(images), labels), list(net.parameters()), create_graph=create_graph
        )
    )


def plain_distance(real: Gradients, synthetic: Gradients) -> Tensor:
    """One minus cosine for each output unit, layer by layer."""
    total = torch.zeros((), device=real[0].device)
    for a, b in zip(real, synthetic, strict=True):
        if a.ndim == 1:
            continue
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        norms = torch.norm(a, dim=-1) * torch.norm(b, dim=-1)
        total = total + torch.sum(1 - torch.sum(a * b, dim=-1) / (norms + 1e-6))
    return total


def plain_step(net: PlainClassifier, real: list[Tensor], synthetic: list[Tensor]) -> Tensor:
    """The loss, class by class."""
    loss = torch.zeros((), device=real[0].device)
    for k in range(K):
        target = [g.detach().clone() for g in plain_gradients(net, real[k], k, False)]
        loss = loss + plain_distance(target, plain_gradients(net, synthetic[k], k, True))
    return loss


def _steps(
    ipc: int, batch_real: int, width: int, strategy: str, device: torch.device
) -> tuple[Callable[[], object], Callable[[], object], bool]:
    """(our step, the reference's step, whether their gradients are equal for equal draws)."""
    draws = generator(0, "benchmark", device=device)
    pool = torch.randn(K * PER_CLASS, 3, 32, 32, generator=draws, device=device)
    members = torch.arange(K * PER_CLASS, device=device).unflatten(0, (K, PER_CLASS))
    class_lists = [row.tolist() for row in members]
    ours_images = pool[members[:, :ipc]].clone().requires_grad_()
    plain_images = ours_images.detach().flatten(0, 1).clone().requires_grad_()
    ours_sgd = torch.optim.SGD([ours_images], lr=0.1, momentum=0.5)
    plain_sgd = torch.optim.SGD([plain_images], lr=0.1, momentum=0.5)
    net = models.build(StudentConfig(width=width), channels=3, num_classes=K, resolution=32).to(device)
    networks, plain = ClassNetworks(net, K, ipc), PlainClassifier(width).to(device)
    _copy_weights(net, plain)
    counter = iter(range(10**9))

    def ours() -> None:
        families = generator(0, "families", next(counter))
        picks = torch.rand(K, PER_CLASS, generator=draws, device=device).topk(batch_real).indices
        chosen = members.gather(1, picks)
        same = augment.siamese(strategy, K, families, draws)
        _, ours_images.grad = image_gradient(
            networks, lambda rows: pool[chosen[rows]], ours_images, same, "ours"
        )
        ours_sgd.step()

    def reference() -> None:
        step = next(counter)
        real, synthetic = [], []
        for k in range(K):
            chosen = np.random.default_rng(step * K + k).permutation(class_lists[k])[:batch_real]
            real.append(pool[torch.as_tensor(chosen, device=device)])
            synthetic.append(plain_images[k * ipc : (k + 1) * ipc].reshape(ipc, 3, 32, 32))
            if strategy:
                real[k], synthetic[k] = (plain_augment(part[k], step * K + k) for part in (real, synthetic))
        loss = plain_step(plain, real, synthetic)
        plain_sgd.zero_grad()
        loss.backward()
        plain_sgd.step()
        loss.item()

    return ours, reference, _equal(ipc, width, device)


def _equal(ipc: int, width: int, device: torch.device) -> bool:
    """Whether gradients of all classes, and of the synthetic images, are equal; in double precision."""
    net = (
        models.build(StudentConfig(width=width), channels=3, num_classes=K, resolution=32).to(device).double()
    )
    networks, plain = ClassNetworks(net, K, ipc), PlainClassifier(width).to(device).double()
    _copy_weights(net, plain)
    draws = generator(1, "benchmark")
    real, synthetic = (
        torch.randn(K, n, 3, 32, 32, generator=draws).to(device).double() for n in (4, min(ipc, 4))
    )
    labels = torch.arange(K, device=device)
    theirs = [plain_gradients(plain, real[k], k, False) for k in range(K)]
    equal = True
    for rows, together in networks.chunks():
        mine = class_gradients(together, real[rows], labels[rows])
        for found, others in zip(mine, zip(*theirs[rows], strict=True), strict=True):
            equal &= torch.allclose(found, torch.stack(others), rtol=1e-7, atol=1e-10)
    same = augment.siamese("", K, generator(0), generator(0))
    _, of_images = image_gradient(networks, lambda rows: real[rows], synthetic, same, "ours")
    leaf = synthetic.clone().requires_grad_()
    plain_step(plain, list(real), list(leaf)).backward()
    assert leaf.grad is not None
    return equal and torch.allclose(of_images, leaf.grad, rtol=1e-6, atol=1e-6 * float(leaf.grad.abs().max()))


def _copy_weights(net: torch.nn.Module, plain: PlainClassifier) -> None:
    for target, source in zip(plain.parameters(), net.parameters(), strict=True):
        target.data.copy_(source.data)


def run() -> list[dict[str, Any]]:
    """DC and DSA at the paper's real batch, at its width and that of `profile=fast`, whose real batch comes
    last."""
    device = choose_device("auto")
    sizes = [("dc", 1, 256, 128), ("dc", 1, 256, 32), ("dsa", 10, 256, 32), ("dsa", 10, 32, 32)]
    if device.type != "cpu":
        sizes += [("dsa", 10, 256, 128), ("dsa", 50, 256, 128)]
    return [_row(*size, device) for size in sizes]


def reference_alone(
    ipc: int, batch_real: int, width: int, strategy: str, device: torch.device
) -> Callable[[], object]:
    """The reference's step."""
    return _steps(ipc, batch_real, width, strategy, device)[1]


def _row(name: str, ipc: int, batch_real: int, width: int, device: torch.device) -> dict[str, Any]:
    size = (ipc, batch_real, width, STRATEGY if name == "dsa" else "", device)
    ours, kept, equal = _steps(*size)
    repeats = 30 if device.type != "cpu" else 3 if width == 128 else 7
    with Apart(reference_alone, *size) as reference:
        timed = compared(ours, reference, kept, repeats=repeats)
    label = f"{name} step, ipc {ipc}, {batch_real} real a class, width {width}"
    return {"name": label, **timed, "equal": equal}
