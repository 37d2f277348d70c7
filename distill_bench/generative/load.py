"""The prior of a run: trained here once and cached, or read from where the config says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill_bench.errors import UserError
from distill_bench.files import Damaged, load_tensors, stamp
from distill_bench.generative.architectures import DenoiserArchitecture, architecture_for
from distill_bench.generative.dit import load_dit
from distill_bench.generative.prior import Prior
from distill_bench.generative.training import new_network, schedule, train_denoiser
from distill_bench.groups import GeneratorConfig, GeneratorKind

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.running import Run

__all__ = ["load_prior", "prior_parts"]

CPU_MAP = 1 << 23  # bytes of a pass's largest map on a CPU


def load_prior(run: Run, data: ImageDataset, config: GeneratorConfig) -> Prior:
    """The diffusion model that `config` names, frozen, in evaluation mode, on the run's device.

    A model of kind `diffusion` is trained on the whole training set the first time, with a seed of its own:
    all runs with the same data and settings share it. UserError, one line, for a generator that is not a
    diffusion model, and for weights that are damaged or of another architecture.
    """
    if config.kind is GeneratorKind.dit:
        return load_dit(data, config, run.device)
    if config.kind is not GeneratorKind.diffusion:
        allowed = "generator=trained or dit_xl2_256"
        raise UserError(
            f"generator.kind={config.kind.name}: this method samples a diffusion model; allowed: {allowed}"
        )
    architecture = architecture_for(config, data.resolution)
    weights = (
        _given(Path(config.path).expanduser()) if config.path else _trained(run, data, config, architecture)
    )
    net = new_network(architecture, data).to(run.device)
    _fill(net, weights, config.path or "the cache")
    together = (
        CPU_MAP // (4 * architecture.largest_map(data.resolution)) if run.device.type == "cpu" else None
    )
    return Prior(
        network=net.eval().requires_grad_(False),
        shape=(data.channels, data.resolution, data.resolution),
        alpha_bars=schedule(data.resolution).to(run.device),
        label_ids=torch.arange(data.num_classes + 1, device=run.device),
        cfg_channels=config.cfg_channels,
        images_per_pass=max(1, together) if together is not None else None,
    )


def prior_parts(data: ImageDataset, config: GeneratorConfig) -> dict[str, Any]:
    """What the prior depends on, as JSON for a cache key: everything but how it is sampled.

    Weights made elsewhere count by what is at `generator.path`, wherever that is.
    """
    weights = stamp(Path(config.path).expanduser()) if config.path else ""
    parts: dict[str, Any] = {"kind": config.kind.name, "weights": weights, "data": data.pixel_fingerprint}
    if config.kind is GeneratorKind.diffusion and not config.path:
        architecture = asdict(architecture_for(config, data.resolution))
        architecture["seconds"] = min(architecture["seconds"], 1e9)  # JSON has no infinity
        parts |= {"architecture": architecture, "label_drop": config.label_drop, "min_snr": config.min_snr}
        parts["augmentation"] = data.augmentation
    return parts


def _trained(
    run: Run, data: ImageDataset, config: GeneratorConfig, architecture: DenoiserArchitecture
) -> dict[str, torch.Tensor]:
    """The weights of the prior that is trained here, from the cache if any run has asked for them before."""
    parts = prior_parts(data, config)
    weights: dict[str, torch.Tensor] = run.cached(
        "prior", parts, lambda part: train_denoiser(part, data, config, architecture)
    )["weights"]
    return weights


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
    own = net.state_dict()
    for name in [*own, *weights]:
        if name not in weights or name not in own or weights[name].shape != own[name].shape:
            has = tuple(weights[name].shape) if name in weights else "absent"
            needs = tuple(own[name].shape) if name in own else "no such layer"
            reason = f"{name} is {has} there and {needs} in generator.architecture's network"
            raise UserError(
                f"generator.path={origin}: weights of another architecture or class count: {reason}"
            )
    net.load_state_dict(weights)
