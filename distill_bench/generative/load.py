"""The prior of a run: trained here once and cached, or read from where the config says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill_bench.contract import Work
from distill_bench.errors import UserError
from distill_bench.files import Damaged, load_tensors
from distill_bench.generative.dit import load_dit
from distill_bench.generative.presets import Preset, preset_for
from distill_bench.generative.prior import Prior
from distill_bench.generative.training import new_network, schedule, train_denoiser, training_images
from distill_bench.groups import GeneratorKind

if TYPE_CHECKING:
    from distill_bench.contract import Context

__all__ = ["fresh_network", "load_prior", "prior_parts", "prior_work"]

CPU_MAP = 1 << 23  # bytes of a pass's largest map on a CPU


def load_prior(ctx: Context) -> Prior:
    """The diffusion model of `generator=`, frozen, in evaluation mode, on the run's device.

    A `trained` one is made on the whole training set the first time, with a seed of its own: all runs with
    the same data and settings share it. UserError, one line, for a generator that is not a diffusion model,
    and for weights that are damaged or of another architecture.
    """
    kind = ctx.generator_config.kind
    if kind is GeneratorKind.dit:
        return load_dit(ctx)
    if kind is not GeneratorKind.diffusion:
        allowed = "generator=trained or dit_xl2_256"
        raise UserError(
            f"generator.kind={kind.name}: this method samples a diffusion model; allowed: {allowed}"
        )
    preset = preset_for(ctx.generator_config, ctx.dataset.resolution)
    weights = _given(Path(ctx.generator_config.path)) if ctx.generator_config.path else _trained(ctx, preset)
    net = new_network(preset, ctx)
    _fill(net, weights, ctx.generator_config.path or "the cache")
    data = ctx.dataset
    together = CPU_MAP // (4 * preset.largest_map(data.resolution)) if ctx.device.type == "cpu" else None
    return Prior(
        network=net.eval().requires_grad_(False),
        shape=(data.channels, data.resolution, data.resolution),
        alpha_bars=schedule(data.resolution).to(ctx.device),
        label_ids=torch.arange(data.num_classes + 1, device=ctx.device),
        cfg_channels=ctx.generator_config.cfg_channels,
        images_per_pass=max(1, together) if together is not None else None,
    )


def fresh_network(ctx: Context) -> torch.nn.Module:
    """The network of a prior that is trained here, untrained."""
    return new_network(preset_for(ctx.generator_config, ctx.dataset.resolution), ctx)


def prior_work(ctx: Context) -> list[Work]:
    """The training of the prior, unless it is there."""
    config = ctx.generator_config
    if config.kind is not GeneratorKind.diffusion or config.path:
        return []
    if ctx.cache.path("prior", prior_parts(ctx)).exists():
        return []
    preset = preset_for(config, ctx.dataset.resolution)
    if preset.seconds < preset.steps:  # a step takes a fair part of a second where time is the budget
        return [Work(name="prior", what=f"{preset.network} trained for its time", seconds=preset.seconds)]
    what = f"{preset.network} trained for {preset.steps} steps x {preset.batch} images"
    return [Work(name="prior", what=what, generator_images=training_images(preset))]


def prior_parts(ctx: Context) -> dict[str, Any]:
    """What the prior depends on, as JSON for a cache key: everything but how it is sampled."""
    config = ctx.generator_config
    parts: dict[str, Any] = {"kind": config.kind.name, "path": config.path, "data": ctx.dataset.fingerprint}
    if config.kind is GeneratorKind.diffusion and not config.path:
        settings = asdict(preset_for(config, ctx.dataset.resolution))
        settings["seconds"] = min(settings["seconds"], 1e9)  # JSON has no infinity
        parts |= {"preset": settings, "label_drop": config.label_drop, "min_snr": config.min_snr}
        parts["augmentation"] = ctx.dataset.augmentation
    return parts


def _trained(ctx: Context, preset: Preset) -> dict[str, torch.Tensor]:
    return ctx.cache.get("prior", prior_parts(ctx), lambda: train_denoiser(ctx, preset))["weights"]


def _given(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = load_tensors(path)
    except FileNotFoundError:
        raise UserError(f"generator.path={path}: no such file") from None
    except Damaged as damage:
        raise UserError(f"generator.path: {damage}") from None
    weights = content.get("weights")
    if not isinstance(weights, dict):
        raise UserError(
            f"generator.path={path}: holds no weights of a diffusion model (it has: {', '.join(content)})"
        )
    return weights


def _fill(net: torch.nn.Module, weights: dict[str, torch.Tensor], origin: str) -> None:
    """Put the weights into `net`; UserError naming the first that does not fit."""
    wanted = net.state_dict()
    for name in [*wanted, *weights]:
        if name not in weights or name not in wanted or weights[name].shape != wanted[name].shape:
            has = tuple(weights[name].shape) if name in weights else "absent"
            needs = tuple(wanted[name].shape) if name in wanted else "no such layer"
            reason = f"{name} is {has} there and {needs} in generator.preset's network"
            raise UserError(
                f"generator.path={origin}: weights of another architecture or class count: {reason}"
            )
    net.load_state_dict(weights)
