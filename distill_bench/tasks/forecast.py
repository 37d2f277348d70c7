"""What a run of dataset distillation is about to do, and about how long it will take on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from distill_bench import generative, models, training
from distill_bench.contract import Context, Method, Work
from distill_bench.groups import GeneratorKind

__all__ = ["duration", "forecast", "lines"]

LONG = 60.0  # seconds: a run that takes less needs no forecast
HEAVY = 3600.0  # seconds on a CPU above which a run is warned of


def forecast(ctx: Context, method: Method, cfg: Any) -> str:
    """The lines to print before the first long step; empty for a run of less than a minute.

    Costs are counted by the method and the protocol in images through a network; the time of one image is
    measured here, in a fraction of a second. An estimate: caches, augmentation and small maps move it by a
    factor of two.
    """
    find: Callable[[Context, Any], list[Work]] | None = getattr(method, "work", None)
    parts = [*(find(ctx, cfg) if find else []), _evaluation(ctx)]
    student = _seconds_per_image(ctx, _student(ctx))
    generator = (
        _seconds_per_image(ctx, _generator(ctx)) if any(part.generator_images for part in parts) else 0.0
    )
    times = [
        part.seconds + part.student_images * student + part.generator_images * generator for part in parts
    ]
    return "\n".join(lines(parts, times, ctx.device.type, ctx.profile)) if sum(times) >= LONG else ""


def lines(parts: list[Work], times: list[float], device: str, profile: str) -> list[str]:
    """One line a part, the total, and a warning where a CPU would need hours."""
    shown = [
        f"  {part.name:<12}{part.what:<58}about {duration(t)}" for part, t in zip(parts, times, strict=True)
    ]
    found = [
        "plan:",
        *shown,
        f"  in all about {duration(sum(times))} on {device}; Ctrl-C stops, the same command goes on",
    ]
    if device == "cpu" and sum(times) > HEAVY:
        found.append(
            f"warning: profile={profile} on a CPU; profile=fast or smoke scales it down, device=cuda wants a GPU"
        )
    return found


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3.4 h, 5.2 days."""
    for unit, size, digits in (("days", 86_400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size or (unit == "h" and seconds >= 5400):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def _evaluation(ctx: Context) -> Work:
    passes = training.evaluation_passes(ctx)
    names = ", ".join(name for name, _ in passes)
    what = f"{ctx.protocol.nets} x {names}, protocol={ctx.protocol.name}"
    return Work(name="evaluate", what=what, student_images=sum(images for _, images in passes))


def _student(ctx: Context) -> tuple[Callable[[], Any], int]:
    data = ctx.dataset
    net = models.build(
        ctx.student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
    )
    net = net.to(ctx.device).eval()
    count = min(training.images_per_pass(net, ctx.device) or 64, 64)
    images = torch.zeros(count, data.channels, data.resolution, data.resolution, device=ctx.device)
    return lambda: net(images), count


def _generator(ctx: Context) -> tuple[Callable[[], Any], int]:
    if ctx.generator_config.kind is not GeneratorKind.diffusion:
        return lambda: None, 1
    network = generative.fresh_network(ctx).eval()
    shape = (8, ctx.dataset.channels, ctx.dataset.resolution, ctx.dataset.resolution)
    images, zeros = torch.zeros(shape, device=ctx.device), torch.zeros(8, dtype=torch.long, device=ctx.device)
    return lambda: network(images, zeros, zeros), 8


@torch.no_grad()
def _seconds_per_image(ctx: Context, one: tuple[Callable[[], Any], int]) -> float:
    """The time of a forward pass of one image, the best of a few."""
    run, count = one
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        run()
        if ctx.device.type == "cuda":
            torch.cuda.synchronize(ctx.device)
        best = min(best, time.perf_counter() - started)
    return best / count
