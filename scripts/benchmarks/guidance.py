"""What information guidance adds to sampling: the guided reverse process against the plain one, at equal
steps.

Prior and classifier are untrained, which costs the same: the priors of CIFAR-10 on a CPU (`cifar_s` on a
GPU) and of the digits, with the classifier's default width, all steps guided. `cost` is guided over plain
time: at most 1.6 is asked for the gradient that stops at x0h, on CIFAR-10. `ratio` is its inverse, as in the
other benchmarks.
"""

from __future__ import annotations

from typing import Any

import torch

from distill_bench import models
from distill_bench.device import choose_device
from distill_bench.generative.architectures import ARCHITECTURES
from distill_bench.generative.guidance import GradientPath, GuidanceForm, InformationGuidance
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import reverse
from distill_bench.groups import GeneratorConfig, Norm, StudentConfig
from distill_bench.information import Predictions
from scripts.benchmarks.sampler import CLASSES, untrained
from scripts.timing import median_seconds

STEPS, WIDTH, BOUND = 5, 64, 1.6


def run() -> list[dict[str, Any]]:
    """Rows for the gradient at x0h and through the denoiser, with and without classifier-free guidance."""
    device = choose_device("auto")
    name = "cifar_s" if device.type == "cuda" else "cifar_cpu"
    cells: list[tuple[str, GradientPath, float]] = [
        (name, "shrunk", 1.5),
        (name, "shrunk", 1.0),
        (name, "exact", 1.5),
        ("digits8_mlp", "shrunk", 1.5),
    ]
    return [_row(*cell, device) for cell in cells]


def _row(name: str, gradient: GradientPath, cfg: float, device: torch.device) -> dict[str, Any]:
    prior, _ = untrained(ARCHITECTURES[name], device)
    hook = _hook(prior, gradient, device)
    count = 16 if name == "cifar_cpu" else 64
    labels, places = (
        torch.arange(count, device=device) % CLASSES,
        torch.arange(count, device=device) // CLASSES,
    )
    config = GeneratorConfig(sampling_steps=STEPS, cfg=cfg)

    def sample(guidance: InformationGuidance | None) -> torch.Tensor:
        draws = [torch.Generator().manual_seed(i) for i in range(count)]
        return reverse(prior, labels, places, draws, config, guidance)

    assert not torch.equal(sample(hook), sample(None)), "guidance changed nothing"
    guided, plain = median_seconds(
        [lambda: sample(hook), lambda: sample(None)], repeats=3 if device.type == "cpu" else 30
    )
    row: dict[str, Any] = {
        "name": f"{name}: {count} images, {STEPS} steps, cfg {cfg:g}, gradient {gradient}",
        "ours_seconds": guided,
        "reference_seconds": plain,
        "ratio": plain / guided,
        "cost": guided / plain,
    }
    bounded = gradient == "shrunk" and name != "digits8_mlp"
    return {**row, "within_1.6": guided / plain <= BOUND} if bounded else row


def _hook(prior: Prior, gradient: GradientPath, device: torch.device) -> InformationGuidance:
    config = StudentConfig(width=WIDTH, norm=Norm.group)
    net = models.build(config, channels=prior.shape[0], num_classes=CLASSES, resolution=prior.shape[1])
    net = net.to(device).eval().requires_grad_(False)
    centroids = torch.full((CLASSES, CLASSES), 1 / CLASSES, device=device)
    form = GuidanceForm(scale=2.0, beta=1.0, gradient=gradient)
    return InformationGuidance(form, lambda x: Predictions(net(x)), prior, centroids, 0.2)
