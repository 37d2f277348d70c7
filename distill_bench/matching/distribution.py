"""Distribution matching: synthetic images whose class means agree with the real ones in random networks.

DM (Zhao and Bilen, WACV 2023) matches one statistic, the embedding; DataDAM (Sajedi et al., ICCV 2023) adds
the spatial attention of every layer, ATOM (Khaki et al., CVPR 2024 workshop) its channel attention too. All
are the same loop over a list of per-sample statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from distill_bench import augment, models, training

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset, Split
    from distill_bench.groups import StudentConfig
    from distill_bench.models import Features
    from distill_bench.running import Run

__all__ = [
    "Curves",
    "DistributionSettings",
    "Statistics",
    "class_mean_distances",
    "class_mean_loss",
    "match_class_means",
]

Weighted = tuple[float, Tensor]

Statistics = Callable[["Features"], list[Weighted]]
"""From a network's features of B images to one pair a layer: its weight, and a vector for each image (B,
D_l)."""

Curves = Callable[[Sequence[Tensor]], Mapping[str, Tensor | float]]
"""From the squared distance of each statistic, in their order and without weights, to named parts of the
loss."""

IMAGES_PER_CHUNK = 640  # real images in one forward pass: bounds the memory of activations


class DistributionSettings(Protocol):
    """What the loop needs of a method's Config."""

    iterations: int
    lr_image: float
    momentum_image: float
    batch_real: int
    augment: bool


def class_mean_distances(real: Sequence[Weighted], synthetic: Sequence[Weighted]) -> list[Tensor]:
    """Squared distance of class means of each statistic, summed over classes and coordinates, without its
    weight.

    ``real`` and ``synthetic`` are lists of a weight and class means (K, D_l). Scalars; no gradient reaches
    ``real``.
    """
    return [(t.detach() - s).square().sum() for (_, t), (_, s) in zip(real, synthetic, strict=True)]


def class_mean_loss(real: Sequence[Weighted], synthetic: Sequence[Weighted]) -> Tensor:
    """Weighted squared distance of class means, summed over layers, classes and coordinates.

    .. math:: L = \\sum_l w_l \\sum_k \\| \\bar m^T_{k,l} - \\bar m^S_{k,l} \\|_2^2

    Arguments as in `class_mean_distances`. Scalar; no gradient reaches ``real``.
    """
    return _weighted_sum(real, class_mean_distances(real, synthetic))


def _weighted_sum(statistics: Sequence[Weighted], distances: Sequence[Tensor]) -> Tensor:
    return torch.stack([w * distance for (w, _), distance in zip(statistics, distances, strict=True)]).sum()


def match_class_means(
    run: Run,
    data: ImageDataset,
    student: StudentConfig,
    start_KICHW: Tensor,
    cfg: DistributionSettings,
    statistics: Statistics,
    curves: Curves | None = None,
) -> Tensor:
    """The loop of DM, DataDAM and ATOM: a fresh random network each step, one step of SGD on the pixels.

    1. Draw theta: a new random network, never trained.
    2. For each class draw `batch_real` real images, and take all synthetic ones.
    3. One siamese augmentation per class, the same for its real and its synthetic images.
    4. `class_mean_loss` of the networks' `statistics`; step on the pixels only.

    All classes go through the network together (exact for instance norm, which treats samples one by one;
    with batch norm the statistics are over all classes, real and synthetic apart, as the released code does).
    `curves` names parts of the loss to log beside it. Returns the images that `start_KICHW` becomes.
    """
    images_KICHW = start_KICHW.clone().requires_grad_()
    optimiser = torch.optim.SGD([images_KICHW], lr=cfg.lr_image, momentum=cfg.momentum_image)
    momentum = optimiser.state[images_KICHW]["momentum_buffer"] = torch.zeros_like(images_KICHW)
    net = models.for_data(student, data).to(run.device).train().requires_grad_(False)
    chunk = data.num_classes if student.batch_norm else max(1, IMAGES_PER_CHUNK // cfg.batch_real)
    strategy = data.augmentation if cfg.augment else ""

    for step in run.loop("distil", cfg.iterations, {"images": images_KICHW, "momentum": momentum}):
        draws, families = run.generator("distil", step), run.generator("augment", step, device="cpu")
        models.reinitialise(net, draws)
        indices_KN = data.train.sample_per_class(cfg.batch_real, draws)
        same = augment.siamese(strategy, data.num_classes, families, draws)
        real = _real_means(data.train, net, statistics, indices_KN, same, chunk)
        synthetic = _class_means(net, statistics, same(images_KICHW, slice(None)))
        distances = class_mean_distances(real, synthetic)
        loss = _weighted_sum(real, distances)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        parts = curves([distance.detach() for distance in distances]) if curves else {}
        run.log("distil", step, loss=loss.detach(), pixel_std=images_KICHW.detach().std(), **parts)
    _warn_of_overshoot(run, images_KICHW)
    return images_KICHW.detach()


@torch.no_grad()
def _real_means(
    train: Split,
    net: Any,
    statistics: Statistics,
    indices_KN: Tensor,
    same: augment.Siamese,
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


def _class_means(net: Any, statistics: Statistics, images_KNCHW: Tensor) -> list[Weighted]:
    """Class means (K, D_l) of each layer's statistic, over all the images together.

    Images go through the network in pieces whose activations stay in the cache, where that cannot change the
    result.
    """
    images = images_KNCHW.flatten(0, 1)
    size = training.images_per_pass(net, images.device) or len(images)
    parts = [statistics(net(piece, features=True)) for piece in images.split(size)]
    layers = [(layer[0][0], torch.cat([values for _, values in layer])) for layer in zip(*parts, strict=True)]
    return [(weight, values.unflatten(0, images_KNCHW.shape[:2]).mean(1)) for weight, values in layers]


def _warn_of_overshoot(run: Run, images: Tensor) -> None:
    spread = float(images.detach().std())
    if spread > 4:
        cause = "method.lr_image is likely too high"
        run.say(f"warning: pixels have a standard deviation of {spread:.1f}: {cause}")
