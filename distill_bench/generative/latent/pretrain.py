"""A generator trained on the training set, within a number of steps and of seconds."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from distill_bench.contract import Work
from distill_bench.generative.latent.build import build_companion, build_generator
from distill_bench.generative.latent.generator import LatentGenerator, Recipe, update_average
from distill_bench.generative.latent.objectives import objective
from distill_bench.generative.latent.presets import Preset, choose
from distill_bench.generative.training import unit_images
from distill_bench.seeding import generator as seeded

if TYPE_CHECKING:
    from distill_bench.contract import Context

__all__ = ["planned_recipe", "pretrained", "pretraining_work", "seconds_per_image"]

DECAY = 0.999  # of the moving average of the weights


@dataclass(frozen=True)
class _Plan:
    """What is to be trained, and how."""

    recipe: Recipe
    preset: Preset
    steps: int
    seconds: float
    lr: float
    flip: bool  # whether a mirrored image keeps its label


def pretrained(ctx: Context) -> LatentGenerator:
    """The generator that `ctx.generator_config` asks for, trained on the run's training set; made once, and
    cached.

    It is the same for every seed of a run, as a generator from elsewhere would be. What `train_seconds` ends
    before `train_steps` depends on the machine's speed.
    """
    plan = _plan(ctx)
    found = build_generator(plan.recipe)
    found.load_state_dict(ctx.cache.get("latent", _parts(ctx, plan), lambda: _train(ctx, plan)))
    return found


def pretraining_work(ctx: Context) -> list[Work]:
    """That training, unless it is done or not needed; its time is measured with one pass of the generator."""
    if ctx.generator_config.path:
        return []
    plan = _plan(ctx)
    if ctx.cache.path("latent", _parts(ctx, plan)).exists():
        return []
    images = 6 * plan.steps * plan.preset.batch_size * max(1, plan.preset.discriminator_steps)
    needed = images * seconds_per_image(build_generator(plan.recipe).to(ctx.device))
    what = f"{plan.recipe.kind}, at most {plan.steps} steps x {plan.preset.batch_size} images"
    return [Work(name="generator", what=what, seconds=min(plan.seconds, needed))]


@torch.no_grad()
def seconds_per_image(generator: LatentGenerator, count: int = 16) -> float:
    """The time of one image drawn by the generator, the best of three."""
    device, best = next(generator.parameters()).device, math.inf
    z = torch.zeros(count, generator.noise, device=device)
    labels = torch.zeros(count, dtype=torch.long, device=device)
    for _ in range(3):
        started = time.perf_counter()
        float(generator.eval()(z, labels).sum())
        best = min(best, time.perf_counter() - started)
    return best / count


def planned_recipe(ctx: Context) -> Recipe:
    """What `pretrained` builds."""
    return _plan(ctx).recipe


def _plan(ctx: Context) -> _Plan:
    config, data = ctx.generator_config, ctx.dataset
    preset = choose(config.preset, config.kind.value, data.resolution)
    preset = replace(preset, batch_size=min(preset.batch_size, config.batch_size))
    recipe = Recipe(
        kind=preset.kind,
        noise=preset.noise,
        width=min(preset.width, config.width),
        num_classes=data.num_classes,
        channels=data.channels,
        resolution=data.resolution,
    )
    flip = "flip" in data.augmentation.split("_")
    return _Plan(recipe, preset, config.train_steps, config.train_seconds, config.lr or preset.lr, flip)


def _parts(ctx: Context, plan: _Plan) -> dict[str, Any]:
    return {**asdict(plan), "data": ctx.dataset.fingerprint}


def _train(ctx: Context, plan: _Plan) -> dict[str, torch.Tensor]:
    r"""The averaged weights. The rate is :math:`\eta (1 + \cos \pi u) / 2` with u = max(step / steps, time /
    seconds).

    The time is that of the steps alone, over all the processes that made some of them.
    """
    net, average = (build_generator(plan.recipe).to(ctx.device) for _ in range(2))
    training = objective(net, build_companion(plan.recipe).to(ctx.device), plan.preset, plan.lr)
    state: dict[str, Any] = {**training.state, "average": average, "seconds": 0.0}
    for step in ctx.loop("pretrain", plan.steps, state):
        done = max(step / plan.steps, state["seconds"] / plan.seconds)
        if done >= 1:
            break
        started = time.monotonic()
        draws = seeded(0, "pretrain", step, device=ctx.device)
        batches = [_real(ctx, plan, draws) for _ in range(training.images_per_step)]
        losses = training.step(batches, draws, 0.5 * (1 + math.cos(math.pi * done)))
        update_average(average, net, step, DECAY)
        ctx.log("pretrain", step, **losses)
        state["seconds"] += time.monotonic() - started
    return average.state_dict()


def _real(ctx: Context, plan: _Plan, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random training images (B, C, H, W) in [-1, 1], half of them mirrored where that keeps the label, and
    labels."""
    train, count = ctx.dataset.train, plan.preset.batch_size
    indices = torch.randint(len(train), (count,), generator=draws, device=ctx.device)
    images = unit_images(ctx.dataset, indices)
    if plan.flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=draws, device=ctx.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images, train.labels[indices]
