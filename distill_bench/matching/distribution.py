"""Distribution matching: synthetic images whose class means agree with the real ones in random networks.

DM (Zhao and Bilen, WACV 2023) matches one statistic, the embedding; DataDAM (Sajedi et al., ICCV 2023) adds
the spatial attention of every layer, ATOM (Khaki et al., CVPR 2024 workshop) its channel attention too. All
are the same loop over a list of per-sample statistics.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from distill_bench import augment, models, training
from distill_bench.contract import Context, SyntheticSet, Work
from distill_bench.groups import FeatureSource, Init, Norm
from distill_bench.matching.coresets import select_coreset

if TYPE_CHECKING:
    from distill_bench.models import Features

__all__ = [
    "Curves",
    "Settings",
    "Statistics",
    "class_mean_distances",
    "class_mean_loss",
    "distribution_work",
    "initial_images",
    "match_class_means",
]

Weighted = tuple[float, torch.Tensor]

Statistics = Callable[["Features"], list[Weighted]]
"""From a network's features of B images to one pair a layer: its weight, and a vector for each image (B,
D_l)."""

Curves = Callable[[Sequence[torch.Tensor]], Mapping[str, torch.Tensor | float]]
"""From the squared distance of each statistic, in their order and without weights, to named parts of the
loss."""

IMAGES_PER_CHUNK = 640  # real images in one forward pass: bounds the memory of activations


class Settings(Protocol):
    """What the loop needs of a method's Config."""

    iterations: int
    lr_image: float
    momentum_image: float
    batch_real: int
    init: Init
    augment: bool


def initial_images(ctx: Context, init: Init) -> torch.Tensor:
    """Images (K, IPC, C, H, W) to start from, normalised as the data set."""
    data, per_class = ctx.dataset, ctx.ipc.images_per_class
    shape = (data.num_classes, per_class, data.channels, data.resolution, data.resolution)
    if init is Init.noise:
        return torch.randn(shape, generator=ctx.generator("init"), device=ctx.device)
    if init is Init.real:
        indices = data.train.sample_per_class(per_class, ctx.generator("init"))
    else:
        indices = select_coreset(ctx, init, FeatureSource.trained)
    return data.train.images(indices.flatten()).reshape(shape).clone()


def class_mean_distances(real: Sequence[Weighted], synthetic: Sequence[Weighted]) -> list[torch.Tensor]:
    """Squared distance of class means of each statistic, summed over classes and coordinates, without its
    weight.

    ``real`` and ``synthetic`` are lists of a weight and class means (K, D_l). Scalars; no gradient reaches
    ``real``.
    """
    return [(t.detach() - s).square().sum() for (_, t), (_, s) in zip(real, synthetic, strict=True)]


def class_mean_loss(real: Sequence[Weighted], synthetic: Sequence[Weighted]) -> torch.Tensor:
    """Weighted squared distance of class means, summed over layers, classes and coordinates.

    .. math:: L = \\sum_l w_l \\sum_k \\| \\bar m^T_{k,l} - \\bar m^S_{k,l} \\|_2^2

    Arguments as in `class_mean_distances`. Scalar; no gradient reaches ``real``.
    """
    return _weighted_sum(real, class_mean_distances(real, synthetic))


def _weighted_sum(statistics: Sequence[Weighted], distances: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([w * distance for (w, _), distance in zip(statistics, distances, strict=True)]).sum()


def match_class_means(
    ctx: Context, cfg: Settings, statistics: Statistics, curves: Curves | None = None
) -> SyntheticSet:
    """The loop of DM, DataDAM and ATOM: a fresh random network each step, one step of SGD on the pixels.

    1. Draw theta: a new random network, never trained.
    2. For each class draw `batch_real` real images, and take all synthetic ones.
    3. One siamese augmentation per class, the same for its real and its synthetic images.
    4. `class_mean_loss` of the networks' `statistics`; step on the pixels only.

    All classes go through the network together (exact for instance norm, which treats samples one by one;
    with batch norm the statistics are over all classes, real and synthetic apart, as the released code does).
    `curves` names parts of the loss to log beside it.
    """
    data = ctx.dataset
    images_KICHW = initial_images(ctx, cfg.init).requires_grad_()
    labels = torch.arange(data.num_classes, device=ctx.device).repeat_interleave(ctx.ipc.images_per_class)
    optimiser = torch.optim.SGD([images_KICHW], lr=cfg.lr_image, momentum=cfg.momentum_image)
    momentum = optimiser.state[images_KICHW]["momentum_buffer"] = torch.zeros_like(images_KICHW)
    net = _frozen_network(ctx)
    chunk = _classes_per_chunk(ctx, cfg.batch_real)

    for step in ctx.loop("distil", cfg.iterations, {"images": images_KICHW, "momentum": momentum}):
        draws = ctx.generator("distil", step)
        models.reinitialise(net, draws)
        indices_KN = data.train.sample_per_class(cfg.batch_real, draws)
        same = _siamese(ctx, cfg, step, draws)
        real = _real_means(data.train, net, statistics, indices_KN, same, chunk)
        synthetic = _class_means(net, statistics, same(images_KICHW, slice(None)))
        distances = class_mean_distances(real, synthetic)
        loss = _weighted_sum(real, distances)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        parts = curves([distance.detach() for distance in distances]) if curves else {}
        ctx.log("distil", step, loss=loss.detach(), pixel_std=images_KICHW.detach().std(), **parts)
    _warn_of_overshoot(images_KICHW)
    return SyntheticSet(images_KICHW.detach().flatten(0, 1).clone(), labels)


def distribution_work(ctx: Context, cfg: Settings) -> list[Work]:
    """The loop's cost: real images go forward, synthetic ones forward and back."""
    classes, steps = ctx.dataset.num_classes, cfg.iterations
    real, synthetic = classes * cfg.batch_real, classes * ctx.ipc.images_per_class
    what = f"{steps} steps x ({real} real + {synthetic} synthetic) images"
    return [Work(name="distil", what=what, student_images=steps * (real + 3 * synthetic))]


def _frozen_network(ctx: Context) -> Any:
    data = ctx.dataset
    net = models.build(
        ctx.student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
    )
    return net.to(ctx.device).train().requires_grad_(False)


def _siamese(ctx: Context, cfg: Settings, step: int, draws: torch.Generator) -> Callable[..., torch.Tensor]:
    """The augmentation of this step: rows of classes in, the same rows out, one parameter set per class."""
    data = ctx.dataset
    strategy = data.augmentation if cfg.augment else ""
    if not strategy:
        return lambda images, rows: images  # noqa: ARG005 (same form as below)
    families = ctx.generator("augment", step, device="cpu")
    draw = augment.draw(strategy, data.num_classes, 1, families, draws)
    return lambda images, rows: augment.apply(draw.rows(rows), images)


def _classes_per_chunk(ctx: Context, batch_real: int) -> int:
    """Classes whose real images share a forward pass: all of them if the network mixes samples."""
    if ctx.student.norm is Norm.batch:
        return ctx.dataset.num_classes
    return max(1, IMAGES_PER_CHUNK // batch_real)


@torch.no_grad()
def _real_means(
    train: Any,
    net: Any,
    statistics: Statistics,
    indices_KN: torch.Tensor,
    same: Callable[..., torch.Tensor],
    chunk: int,
) -> list[Weighted]:
    """Class means (K, D_l) of real images, a few classes at a time so that memory does not grow with K."""
    parts = []
    for first in range(0, len(indices_KN), chunk):
        indices = indices_KN[first : first + chunk]
        images = train.images(indices.flatten())
        images = images.reshape(*indices.shape, *images.shape[1:])
        parts.append(_class_means(net, statistics, same(images, slice(first, first + chunk))))
    return [(layer[0][0], torch.cat([means for _, means in layer])) for layer in zip(*parts, strict=True)]


def _class_means(net: Any, statistics: Statistics, images_KNCHW: torch.Tensor) -> list[Weighted]:
    """Class means (K, D_l) of each layer's statistic, over all the images together.

    Images go through the network in pieces whose activations stay in the cache, where that cannot change the
    result.
    """
    images = images_KNCHW.flatten(0, 1)
    size = training.images_per_pass(net, images.device) or len(images)
    parts = [statistics(net(piece, features=True)) for piece in images.split(size)]
    layers = [(layer[0][0], torch.cat([values for _, values in layer])) for layer in zip(*parts, strict=True)]
    return [(weight, values.unflatten(0, images_KNCHW.shape[:2]).mean(1)) for weight, values in layers]


def _warn_of_overshoot(images: torch.Tensor) -> None:
    spread = float(images.detach().std())
    if spread > 4:
        line = (
            f"warning: pixels have a standard deviation of {spread:.1f}: method.lr_image is likely too high"
        )
        print(line, file=sys.stderr, flush=True)
