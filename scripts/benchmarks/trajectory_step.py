"""Steps of a student in MTT, and the way back through them, against the reference formulation.

The reference is written as the published code is: all weights in one vector, the graph kept from step to
step, and augmentation whose matrices are built image by image. It runs in a process of its own, as that of
`matching_step`. An iteration of the paper has 30 steps and more, whose graphs the reference keeps (some 14
GiB at width 128 with 100 images); the ratio is of one of a few steps, with our graphs kept where they fit
(`kept_graphs`), and again with none kept, as it is for the steps that are over. For the check both get the
same images, without augmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench import models
from distill_bench.device import choose_device
from distill_bench.groups import StudentConfig
from distill_bench.matching.trajectories import (
    FlatNetwork,
    augmented,
    kept_graphs,
    minibatches,
    student_step,
    trajectory_distance,
)
from distill_bench.seeding import generator
from scripts.benchmarks.gradient_step import PlainClassifier
from scripts.benchmarks.matching_step import STRATEGY, K
from scripts.benchmarks.students import plain_augment
from scripts.timing import Apart, compared


def _steps(
    width: int, count: int, steps: int, strategy: str, keep: bool, device: torch.device
) -> tuple[Callable[[], tuple[Tensor, Tensor]], Callable[[], tuple[Tensor, Tensor]]]:
    """(our iteration, the reference's): gradients for the images and for the rate."""
    draws, choices = generator(0, "benchmark", device=device), generator(0, "choices")
    net = models.build(StudentConfig(width=width), channels=3, num_classes=K, resolution=32).to(device)
    plain = PlainClassifier(width).to(device)
    for parameter, source in zip(plain.parameters(), net.parameters(), strict=True):
        parameter.data.copy_(source.data)
    network = FlatNetwork(net)
    start = network.theta()
    target = start + 0.01 * torch.randn(start.shape, generator=draws, device=device)
    images = torch.randn(count, 3, 32, 32, generator=draws, device=device).requires_grad_()
    labels = torch.arange(count, device=device) % K
    alpha = torch.tensor(0.01, device=device, requires_grad=True)
    kept = kept_graphs(net, count, device) if keep else 0

    def ours() -> tuple[Tensor, Tensor]:
        theta = start
        for number, indices in enumerate(minibatches(count, 0, steps, draws)):
            batch = augmented(strategy, images[indices], draws, choices)
            theta = student_step(network, theta, batch, labels[indices], alpha, keep=number < kept)
        of_images, of_alpha = torch.autograd.grad(trajectory_distance(theta, start, target), [images, alpha])
        return of_images, of_alpha

    def reference() -> tuple[Tensor, Tensor]:
        thetas = [start.clone().requires_grad_()]
        for _ in range(steps):
            indices = torch.randperm(count, device=device)
            batch = plain_augment(images[indices], strategy) if strategy else images[indices]
            loss = F.cross_entropy(plain_logits(plain, thetas[-1], batch), labels[indices])
            gradient = torch.autograd.grad(loss, thetas[-1], create_graph=True)[0]
            thetas.append(thetas[-1] - alpha * gradient)
        loss = F.mse_loss(thetas[-1], target, reduction="sum") / F.mse_loss(start, target, reduction="sum")
        of_images, of_alpha = torch.autograd.grad(loss, [images, alpha])
        return of_images, of_alpha

    return ours, reference


def plain_logits(net: PlainClassifier, theta: Tensor, images: Tensor) -> Tensor:
    """Of the network whose weights are, in their order, the vector."""
    weights, first = {}, 0
    for name, parameter in net.named_parameters():
        weights[name] = theta[first : first + parameter.numel()].view(parameter.shape)
        first += parameter.numel()
    logits: Tensor = torch.func.functional_call(net, weights, (images,))
    return logits


def reference_alone(
    width: int, count: int, steps: int, keep: bool, device: torch.device
) -> Callable[[], object]:
    """The reference's iteration."""
    return _steps(width, count, steps, STRATEGY, keep, device)[1]


def _equal(width: int, device: torch.device) -> bool:
    """Whether both have the same gradients, up to rounding."""
    ours, reference = _steps(width, 20, 2, "", True, device)
    return all(
        torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
        for mine, theirs in zip(ours(), reference(), strict=True)
    )


def _row(width: int, count: int, steps: int, keep: bool, device: torch.device) -> dict[str, Any]:
    ours, kept = _steps(width, count, steps, STRATEGY, keep, device)
    with Apart(reference_alone, width, count, steps, keep, device) as reference:
        timed = compared(ours, reference, kept, repeats=3 if device.type == "cpu" else 10)
    how = "graphs kept" if keep else "graphs made again"
    label = f"mtt iteration of {steps} steps, {count} images, width {width}, {how}"
    return {"name": label, **timed, "equal": _equal(width, device)}


def run() -> list[dict[str, Any]]:
    """At the paper's width and at that of `profile=fast`."""
    device = choose_device("auto")
    sizes = [(32, 100, 3, True), (32, 100, 3, False), (128, 30, 2, True)]
    return [_row(*size, device) for size in sizes]
