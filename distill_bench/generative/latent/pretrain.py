"""A generator trained on the training set, within a number of steps and of seconds."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from distill_bench.generative.latent.architectures import LatentArchitecture, architecture_for
from distill_bench.generative.latent.build import build_companion, build_generator
from distill_bench.generative.latent.generator import GeneratorShape, LatentGenerator, update_average_of
from distill_bench.generative.latent.objectives import objective
from distill_bench.seeding import generator as seeded

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import GeneratorConfig
    from distill_bench.running import Run

__all__ = ["pretrained"]

DECAY = 0.999  # of the moving average of the weights


@dataclass(frozen=True)
class _Plan:
    """What is to be trained, and how."""

    shape: GeneratorShape
    architecture: LatentArchitecture
    steps: int
    seconds: float
    lr: float
    flip: bool  # whether a mirrored image keeps its label


def pretrained(run: Run, data: ImageDataset, config: GeneratorConfig) -> LatentGenerator:
    """The generator that `config` names, trained on the training set of `data`; made once, and cached.

    It is the same for every seed of a run, as a generator from elsewhere would be. What `train_seconds` ends
    before `train_steps` depends on the machine's speed.
    """
    plan = _plan(data, config)
    generator, parts = build_generator(plan.shape), {**asdict(plan), "data": data.pixel_fingerprint}
    generator.load_state_dict(run.cached("latent", parts, lambda part: _train(part, data, plan)))
    return generator


def _plan(data: ImageDataset, config: GeneratorConfig) -> _Plan:
    architecture = architecture_for(config.architecture, config.kind.value, data.resolution)
    architecture = replace(architecture, batch_size=min(architecture.batch_size, config.batch_size))
    shape = GeneratorShape(
        kind=architecture.kind,
        noise=architecture.noise,
        width=min(architecture.width, config.width),
        num_classes=data.num_classes,
        channels=data.channels,
        resolution=data.resolution,
    )
    flip = "flip" in data.augmentation.split("_")
    return _Plan(
        shape, architecture, config.train_steps, config.train_seconds, config.lr or architecture.lr, flip
    )


def _train(run: Run, data: ImageDataset, plan: _Plan) -> dict[str, torch.Tensor]:
    r"""The averaged weights. The rate is :math:`\eta (1 + \cos \pi u) / 2` with u = max(step / steps, time /
    seconds).

    The time is that of the steps alone, over all the processes that made some of them.
    """
    net, average = (build_generator(plan.shape).to(run.device) for _ in range(2))
    training = objective(net, build_companion(plan.shape).to(run.device), plan.architecture, plan.lr)
    state: dict[str, Any] = {**training.state, "average": average, "seconds": 0.0}
    for step in run.loop("pretrain", plan.steps, state):
        share = max(step / plan.steps, state["seconds"] / plan.seconds)
        if share >= 1:
            break
        started = time.monotonic()
        draws = seeded(0, "pretrain", step, device=run.device)
        batches = [_real(data, plan, draws) for _ in range(training.images_per_step)]
        losses = training.step(batches, draws, 0.5 * (1 + math.cos(math.pi * share)))
        update_average_of(average, net, step, DECAY)
        run.log("pretrain", step, **losses)
        state["seconds"] += time.monotonic() - started
    return average.state_dict()


def _real(data: ImageDataset, plan: _Plan, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random training images (B, C, H, W) in [-1, 1], half of them mirrored where that keeps the label, and
    labels."""
    train, count = data.train, plan.architecture.batch_size
    indices = torch.randint(len(train), (count,), generator=draws, device=draws.device)
    images = train.unit(indices) * 2 - 1
    if plan.flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=draws, device=draws.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images, train.labels[indices]
