"""Drawing a set together against one image at a time, with equal images; and where a prior's training time
goes.

Priors are untrained, which costs the same: `digits8_mlp` and `cifar_cpu` on a CPU, `cifar_s` on a GPU. The
share of a training step that its network takes is measured in the same run: forward and backward pass alone,
on a batch of the same size, over the whole step.
"""

from __future__ import annotations

from typing import Any

import torch

from distill_bench.device import choose_device
from distill_bench.generative.architectures import ARCHITECTURES, DenoiserArchitecture
from distill_bench.generative.average import update_average
from distill_bench.generative.networks import build_network
from distill_bench.generative.prior import Prior
from distill_bench.generative.process import Prediction
from distill_bench.generative.sampling import reverse, to_bytes
from distill_bench.generative.training import (
    denoising_loss,
    drop_labels,
    ema_decay,
    flat_adamw,
    rate,
    schedule,
)
from distill_bench.groups import GeneratorConfig
from scripts.timing import median_seconds

CLASSES, STEPS = 10, 10


def run() -> list[dict[str, Any]]:
    """Rows of the sampler and of the training, for the architectures that fit the device."""
    device = choose_device("auto")
    names = ["cifar_s"] if device.type == "cuda" else ["digits8_mlp", "cifar_cpu"]
    return [row for name in names for row in (sampler(name, device), training(name, device))]


def sampler(name: str, device: torch.device) -> dict[str, Any]:
    """Images a second, 64 together against one by one."""
    prior, shape = untrained(ARCHITECTURES[name], device)
    labels, places = torch.arange(64, device=device) % CLASSES, torch.arange(64, device=device)
    config = GeneratorConfig(sampling_steps=STEPS)

    def draws() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(i) for i in range(64)]

    def together() -> torch.Tensor:
        return to_bytes(prior, reverse(prior, labels, places, draws(), config), shape[1], labels)

    def one_by_one() -> torch.Tensor:
        parts = [
            reverse(prior, labels[i : i + 1], places[i : i + 1], [draw], config)
            for i, draw in enumerate(draws())
        ]
        return to_bytes(prior, torch.cat(parts), shape[1], labels)

    apart = (together().int() - one_by_one().int()).abs().max()
    assert apart <= 1, f"images differ by {apart} levels"
    ours, reference = median_seconds([together, one_by_one], repeats=3)
    return {
        "name": f"{name}: 64 images, {STEPS} steps, guidance 1.5",
        "images_per_second": 64 / ours,
        "ours_seconds": ours,
        "reference_seconds": reference,
        "ratio": reference / ours,
        "largest_difference_of_255": int(apart),
    }


def training(name: str, device: torch.device) -> dict[str, Any]:
    """The share of a training step that the network's two passes take."""
    architecture = ARCHITECTURES[name]
    prior, shape = untrained(architecture, device)
    net = prior.network.train().requires_grad_(True)
    alpha_bars = prior.alpha_bars
    stored = torch.randint(0, 256, (5000, *shape), dtype=torch.uint8, device=device)
    labels = torch.arange(5000, device=device) % CLASSES
    weights, optimiser = flat_adamw(net, architecture.lr)
    average = weights.detach().clone()
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def step() -> None:
        draws = torch.Generator(device).manual_seed(0)
        indices = torch.randint(5000, (architecture.batch,), generator=draws, device=device)
        x0 = stored[indices].float() / 127.5 - 1
        dropped = drop_labels(labels[indices], CLASSES, 0.1, draws)
        with autocast:
            loss, _ = denoising_loss(net, Prediction.v, alpha_bars, x0, dropped, 5.0, draws)
        loss.backward()
        optimiser.param_groups[0]["lr"] = architecture.lr * rate(0.5, 1000)
        torch.nn.utils.clip_grad_norm_([weights], 1.0)
        optimiser.step()
        weights.grad.zero_()  # type: ignore[union-attr]
        update_average([average], [weights], ema_decay(1000))

    x, t = (
        torch.randn(architecture.batch, *shape, device=device),
        torch.randint(1000, (architecture.batch,), device=device),
    )

    def passes() -> None:
        with autocast:
            output = net(x, t, labels[: architecture.batch])
        output.float().mean().backward()

    whole, network = median_seconds([step, passes], repeats=5)
    return {
        "name": f"{name}: a training step of {architecture.batch} images",
        "step_seconds": whole,
        "forward_and_backward_seconds": network,
        "share": network / whole,
        "images_per_second": architecture.batch / whole,
    }


def untrained(architecture: DenoiserArchitecture, device: torch.device) -> tuple[Prior, tuple[int, int, int]]:
    """A prior whose network is random."""
    shape = (1, 8, 8) if architecture is ARCHITECTURES["digits8_mlp"] else (3, 32, 32)
    torch.manual_seed(0)
    network = build_network(architecture, shape, CLASSES).to(device)
    with torch.no_grad():
        for (
            parameter
        ) in network.parameters():  # layers that start at zero would give images without structure
            parameter.add_(0.02 * torch.randn_like(parameter))
    together = (1 << 23) // (4 * architecture.largest_map(shape[1])) if device.type == "cpu" else None
    prior = Prior(
        network=network.eval().requires_grad_(False),
        shape=shape,
        alpha_bars=schedule(shape[1]).to(device),
        label_ids=torch.arange(CLASSES + 1, device=device),
        images_per_pass=together,
    )
    return prior, shape
