"""Drawing images from a prior: diffusers' solvers, one hook that may correct each step, one generator per
image.

Every image's noise follows from the run's seed, its class and its number, so no result depends on how many
images are drawn together (but for rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.errors import UserError
from distill_bench.generative.prior import Prior
from distill_bench.generative.solver import AncestralStep, ancestral_step, solver
from distill_bench.groups import GeneratorConfig, Sampler, Variance
from distill_bench.products import SyntheticSet, synthetic_set

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.running import Run

__all__ = [
    "CLASS_CHUNK",
    "Hook",
    "Shift",
    "Step",
    "chunks",
    "draw_set",
    "from_bytes",
    "reverse",
    "to_bytes",
]

CLASS_CHUNK = 64  # images of one class that a hook sees together


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a hook sees at one step of the reverse process."""

    index: int  # 0 .. count-1, high noise first
    count: int
    t: int
    alpha_bar: float
    x_t: Tensor  # (B, C, H, W)
    x0h: Tensor  # after classifier-free guidance; not clipped
    eps: Tensor
    labels: Tensor  # (B,) classes
    places: Tensor  # (B,) the image's number within its class
    posterior_std: (
        float | Tensor
    )  # noise of an ancestral step (see `solver`), 0 for the deterministic solvers
    x0_weight: float  # weight of x0h in an ancestral step's mean, 1 for the deterministic solvers


class Shift(NamedTuple):
    """What is added to the next x, after the solver's step; to the sample itself after the last one."""

    by: Tensor  # (B, C, H, W)


class Hook(Protocol):
    """Corrects the reverse process."""

    through_denoiser: bool  # x_t requires grad, and x0h and eps keep their graph to it; else all are detached

    def __call__(self, step: Step) -> Tensor | Shift | None:
        """The corrected x0h, before it is clipped, or a shift of the next x; None leaves the step unchanged
        bit for bit. Gradients are on."""
        ...

    def finished(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
        """The final images of a batch, in [-1, 1] and of 8 bits."""
        ...


def draw_set(
    run: Run,
    data: ImageDataset,
    prior: Prior,
    config: GeneratorConfig,
    per_class: int,
    hook: Hook | None = None,
) -> SyntheticSet:
    """`per_class` images of every class of `data`, as uint8 pixels; resumable after each batch.

    A run draws at most one set of each size: an interrupted drawing is known by the sizes of set and batch.
    """
    side, total = data.resolution, data.num_classes * per_class
    pixels = torch.zeros(total, data.channels, side, side, dtype=torch.uint8, device=run.device)
    batches = chunks(data.num_classes, per_class, config.sampling_batch)
    reported = 0  # batches whose images the hook has seen
    name = f"sample-{per_class}-by-{config.sampling_batch}"
    for part in run.loop(name, len(batches), {"pixels": pixels}):
        for rows in batches[reported:part] if hook is not None else []:  # of an earlier attempt
            assert hook is not None
            hook.finished(from_bytes(pixels[rows]), rows.to(run.device) // per_class)
        rows = batches[part]
        labels, places = rows // per_class, rows % per_class
        draws = [
            run.generator("sample", int(k), int(j), device="cpu") for k, j in zip(labels, places, strict=True)
        ]
        x0 = reverse(prior, labels.to(run.device), places.to(run.device), draws, config, hook)
        pixels[rows.to(run.device)] = to_bytes(prior, x0, side, labels)
        if hook is not None:
            hook.finished(from_bytes(pixels[rows.to(run.device)]), labels.to(run.device))
        reported = part + 1
    return synthetic_set(data, pixels)


def chunks(num_classes: int, per_class: int, batch: int) -> list[Tensor]:
    """Rows of the set (class by class) that are drawn together.

    A class is split, in order, only beyond `CLASS_CHUNK` images; whole pieces of classes share a batch up to
    `batch`.
    """
    pieces = torch.arange(num_classes * per_class).view(num_classes, per_class).split(CLASS_CHUNK, dim=1)
    batches = []
    for piece in pieces:
        together = max(1, batch // piece.shape[1])
        batches += [classes.flatten() for classes in piece.split(together)]
    return batches


@torch.no_grad()
def reverse(
    prior: Prior,
    labels: Tensor,
    places: Tensor,
    draws: Sequence[torch.Generator],
    config: GeneratorConfig,
    hook: Hook | None = None,
) -> Tensor:
    """Samples x_0 (B, C, H, W) of p(x | labels), in the space of the prior.

    `draws` holds one CPU generator an image, which gives its x_T and, for the ancestral sampler, its noise.
    Pixels are clipped to [-1, 1] at every step; the solver sees x0h alone, which fixes eps. The ancestral
    sampler ends with x0h itself: diffusers would add noise there, at times that end above 0.
    """
    scheduler = solver(prior, config)
    x_t = torch.stack([torch.randn(prior.shape, generator=draw) for draw in draws]).to(prior.device)
    times = scheduler.timesteps.tolist()
    noise = {"generator": list(draws)} if config.sampler is Sampler.ddpm else {}
    for index, t in enumerate(times):
        x0h, shift, variance = _denoised(prior, x_t, t, labels, places, config, hook, index, times)
        output = x0h if prior.latent else x0h.clamp(-1, 1)
        if noise and index == len(times) - 1:
            x_t = output
        elif variance is not None and config.variance is Variance.learned_range:
            x_t = scheduler.step(torch.cat([output, variance], dim=1), t, x_t, **noise).prev_sample
        else:
            x_t = scheduler.step(output, t, x_t, **noise).prev_sample
        if shift is not None:
            x_t = x_t + shift
    return x_t


def to_bytes(prior: Prior, x0: Tensor, side: int, labels: Tensor) -> Tensor:
    """8-bit images (B, C, side, side) of samples of `labels` (B,) in the prior's space.

    UserError, naming the first class, if a value is not finite: a byte would hide it.
    """
    with torch.no_grad():
        images = prior.to_pixels(x0)
    finite = images.isfinite().flatten(1).all(1)
    if not finite.all():
        label = int(labels.to(finite.device)[~finite][0])
        raise UserError(
            f"sample: the images drawn for class {label} are not finite; is generator.cfg too large, or are "
            "the generator's weights damaged?"
        )
    if images.shape[-1] != side:
        images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_bytes(pixels: Tensor) -> Tensor:
    """8-bit images in [-1, 1], as float32."""
    return pixels.float() / 127.5 - 1


def _denoised(
    prior: Prior,
    x_t: Tensor,
    t: int,
    labels: Tensor,
    places: Tensor,
    config: GeneratorConfig,
    hook: Hook | None,
    index: int,
    times: list[int],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """At one step x0h, after guidance and the hook's correction; the hook's shift of the next x; and the
    network's word on the variance."""
    t_B = torch.full_like(labels, t)
    if hook is None:
        x0h, _, variance = prior.predict_with_variance(x_t, t_B, labels, config.cfg)
        return x0h, None, variance
    with torch.set_grad_enabled(hook.through_denoiser):
        x_t = x_t.detach().requires_grad_(hook.through_denoiser)
        x0h, eps, variance = prior.predict_with_variance(x_t, t_B, labels, config.cfg)
    variance = None if variance is None else variance.detach()
    noise = AncestralStep(0.0, 1.0)
    if config.sampler is Sampler.ddpm:
        noise = ancestral_step(prior, config, times, index, variance)
    step = Step(
        index=index,
        count=len(times),
        t=t,
        alpha_bar=prior.alpha_bars_list[t],
        x_t=x_t,
        x0h=x0h,
        eps=eps,
        labels=labels,
        places=places,
        posterior_std=noise.std,
        x0_weight=noise.x0_weight,
    )
    with torch.enable_grad():
        corrected = hook(step)
    if isinstance(corrected, Shift):
        return x0h.detach(), corrected.by, variance
    guided = x0h if corrected is None else corrected
    return guided.detach(), None, variance
