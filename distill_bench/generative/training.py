"""Training a small class-conditional diffusion model in a given time.

Ho et al. 2020 with v-prediction, a cosine schedule, Min-SNR weights and labels dropped for classifier-free
guidance. The rate follows the share of the budget that is used up, so a run that time ends is annealed like
one that steps end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.generative.architectures import DenoiserArchitecture
from distill_bench.generative.average import update_average, warm_decay
from distill_bench.generative.networks import build_network
from distill_bench.generative.process import (
    Prediction,
    cosine,
    diffuse,
    min_snr_weight,
    predicted,
    shifted,
    target,
)
from distill_bench.seeding import derive, generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import GeneratorConfig
    from distill_bench.running import Run

__all__ = [
    "denoising_loss",
    "drop_labels",
    "ema_decay",
    "flat_adamw",
    "new_network",
    "rate",
    "schedule",
    "train_denoiser",
]

SLICES = 1000  # of the budget
WARM_UP = 200  # steps
CLIP = 1.0  # norm of the gradient


def drop_labels(labels: Tensor, null: int, share: float, draws: torch.Generator) -> Tensor:
    """`labels` with each replaced by the null class with probability `share`: one draw a sample."""
    dropped = torch.rand(labels.shape, generator=draws, device=labels.device) < share
    return labels.masked_fill(dropped, null)


def denoising_loss(
    network: Callable[[Tensor, Tensor, Tensor], Tensor],
    prediction: Prediction,
    alpha_bars: Tensor,
    x0: Tensor,
    labels: Tensor,
    gamma: float,
    draws: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Min-SNR weighted squared error at uniform times, and x0h (B, C, H, W) as the network predicts it.

    Scalar mean over samples and elements, in float32; gradients flow through both.
    """
    t = torch.randint(len(alpha_bars), (len(x0),), generator=draws, device=x0.device)
    noise = torch.randn(x0.shape, generator=draws, device=x0.device)
    alpha_bar = alpha_bars[t].view(-1, 1, 1, 1)
    x_t = diffuse(x0, noise, alpha_bar)
    output = network(x_t, t, labels).float()[:, : x0.shape[1]]
    error = (output - target(prediction, x0, noise, alpha_bar)).square()
    loss = (min_snr_weight(prediction, alpha_bar, gamma) * error).mean()
    return loss, predicted(prediction, output, x_t, alpha_bar)[0]


def rate(used: float, step: int) -> float:
    """Factor of the peak rate at share `used` in [0, 1] of the budget: half a cosine to 0, after a short
    warm-up."""
    return 0.5 * (1 + math.cos(math.pi * min(used, 1.0))) * min(1.0, (step + 1) / WARM_UP)


def ema_decay(step: int) -> float:
    """The decay of the weights' running mean after `step` updates, at most 0.999 (0.9999 beyond 50,000)."""
    return warm_decay(0.999 if step < 50_000 else 0.9999, step)


def train_denoiser(
    run: Run, data: ImageDataset, config: GeneratorConfig, architecture: DenoiserArchitecture
) -> dict[str, Any]:
    """The averaged weights of a network trained from scratch, and how far its training came; resumable.

    The loop counts slices of the budget, so that its progress is right whether steps or time end it.
    """
    net = new_network(architecture, data).to(run.device).train()
    alpha_bars = schedule(data.resolution).to(run.device)
    weights, optimiser = flat_adamw(net, architecture.lr)
    average = weights.detach().clone()
    state: dict[str, Any] = {**optimiser.state[weights], "weights": weights, "average": average}
    state |= {"taken": 0, "seconds": 0.0, "loss": 0.0}
    flips = "flip" in data.augmentation.split("_")
    bf16 = torch.autocast(run.device.type, torch.bfloat16, enabled=run.device.type == "cuda")
    slices = min(SLICES, architecture.steps)

    def share() -> float:
        return max(state["taken"] / architecture.steps, state["seconds"] / architecture.seconds)

    def train_step() -> Tensor:
        draws = generator(0, "prior", state["taken"], device=run.device)
        indices = torch.randint(len(data.train), (architecture.batch,), generator=draws, device=run.device)
        x0 = data.train.unit(indices) * 2 - 1
        if flips:
            mirrored = torch.rand(len(x0), 1, 1, 1, generator=draws, device=run.device) < 0.5
            x0 = torch.where(mirrored, x0.flip(3), x0)
        labels = drop_labels(data.train.labels[indices], data.num_classes, config.label_drop, draws)
        with bf16:
            loss, _ = denoising_loss(net, Prediction.v, alpha_bars, x0, labels, config.min_snr, draws)
        loss.backward()
        optimiser.param_groups[0]["lr"] = architecture.lr * rate(share(), state["taken"])
        nn.utils.clip_grad_norm_([weights], CLIP)
        optimiser.step()
        weights.grad.zero_()  # type: ignore[union-attr]
        update_average([average], [weights], ema_decay(state["taken"]))
        return loss.detach()

    for part in run.loop("prior", slices, state):
        clock = time.monotonic()
        while share() < (part + 1) / slices:
            loss = train_step()
            run.log("prior", state["taken"], loss=loss)
            state["taken"] += 1
            now = time.monotonic()
            state["seconds"], clock = state["seconds"] + now - clock, now
            state["loss"] = loss
    with torch.no_grad():
        weights.copy_(average)
    record = {"steps": state["taken"], "seconds": state["seconds"], "loss": float(state["loss"])}
    return {"weights": {name: value.clone() for name, value in net.state_dict().items()}, "training": record}


def schedule(resolution: int) -> Tensor:
    """`alpha_bars` of the models trained here: the cosine schedule, shifted for images above 32 pixels."""
    return shifted(cosine(), resolution)


def new_network(architecture: DenoiserArchitecture, data: ImageDataset) -> nn.Module:
    """A fresh network for the images of `data`, on the CPU; the same for every seed: all runs share one
    prior."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "prior weights"))
        shape = (data.channels, data.resolution, data.resolution)
        return build_network(architecture, shape, data.num_classes)


def flat_adamw(net: nn.Module, lr: float) -> tuple[nn.Parameter, torch.optim.AdamW]:
    """The network's parameters as one, of which they are views (their gradients too), and AdamW for it."""
    weights = models.flat_parameter(net)
    optimiser = torch.optim.AdamW([weights], lr=lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    zeros = {"exp_avg": torch.zeros_like(weights), "exp_avg_sq": torch.zeros_like(weights)}
    optimiser.state[weights] = {
        "step": torch.zeros((), device=weights.device),
        **{k: v.detach() for k, v in zeros.items()},
    }
    return weights, optimiser
