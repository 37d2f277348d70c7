"""Modes of each class in the prior's space, and the pull towards them: Chan-Santiago et al., MGD3, ICML 2025.

Legend: K classes, M modes of each, N images of a class, D elements of x_0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from distill_bench.errors import require
from distill_bench.generative.load import prior_parts
from distill_bench.seeding import derive

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.generative.prior import Prior
    from distill_bench.generative.sampling import Step
    from distill_bench.groups import GeneratorConfig
    from distill_bench.running import Run

__all__ = ["ModeGuidance", "class_modes", "cluster_means"]

BATCH = 64  # images encoded together


class ModeGuidance:
    r"""Pulls image number i of a class towards the class's mode m_i, while more than `stop` of the steps
    remain.

    .. math:: \hat x_0 \leftarrow \hat x_0 + \lambda (m_i - \hat x_0), \qquad
        x_{t-1} \leftarrow x_{t-1} + \lambda \sigma_t (m_i - \hat x_0)

    The first for deterministic samplers, the second for the ancestral one: there, with w the weight of x0h in
    the step's mean, x0h moves by lambda sigma_t / w (m_i - x0h). `modes_KMCHW` holds one mode for each image.
    """

    through_denoiser = False

    def __init__(self, modes_KMCHW: Tensor, scale: float, stop: float) -> None:
        self.modes_KMCHW, self.scale, self.stop = modes_KMCHW, scale, stop

    def __call__(self, step: Step) -> Tensor | None:
        """The pulled x0h; None (unchanged) in the last part of the steps, or without guidance."""
        remaining = step.count - 1 - step.index
        if self.scale == 0 or remaining <= self.stop * step.count:
            return None
        reach: Any = step.posterior_std / step.x0_weight
        if isinstance(reach, float) and reach == 0:
            reach = 1.0
        return torch.lerp(step.x0h, self.modes_KMCHW[step.labels, step.places], self.scale * reach)

    def finished(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
        """Nothing is kept."""


def class_modes(
    run: Run, data: ImageDataset, prior: Prior, config: GeneratorConfig, per_class: int
) -> Tensor:
    """(K, M, C, H, W) centroids of k-means, M = `per_class`, on all training images of a class; cached.

    In the space of `prior`, which is that of `config`: pixels in [-1, 1], or the means of the autoencoder's
    posteriors (our choice; not samples). UserError for more modes than a class has images.
    """
    smallest = data.train.smallest_class
    allowed = f"at most {smallest}: one mode an image, by k-means"
    require(per_class <= smallest, "ipc.images_per_class", per_class, allowed)
    space: Any = prior_parts(data, config) if prior.latent else "pixels"  # the same for every prior of pixels
    parts = {"data": data.pixel_fingerprint, "space": space, "modes": per_class, "seed": run.seed}
    saved = run.cached("modes", parts, lambda part: {"modes": _cluster(part, data, prior, per_class)})
    modes: Tensor = saved["modes"].to(run.device)
    return modes


def _cluster(run: Run, data: ImageDataset, prior: Prior, per_class: int) -> Tensor:
    modes = torch.zeros(data.num_classes, per_class, *prior.shape)
    sizes = data.train.class_counts.tolist()
    for k in run.loop("modes", data.num_classes, {"modes": modes}):
        members = data.train.class_indices[k, : sizes[k]]
        encoded_ND = torch.cat([_encoded(data, prior, batch) for batch in members.split(BATCH)]).flatten(1)
        means = cluster_means(encoded_ND, per_class, derive(run.seed, "modes", k))
        modes[k] = means.view(-1, *prior.shape)
    return modes


@torch.no_grad()
def _encoded(data: ImageDataset, prior: Prior, indices: Tensor) -> Tensor:
    return prior.from_pixels(data.train.unit(indices) * 2 - 1).float().cpu()


def cluster_means(x_ND: Tensor, count: int, seed: int) -> Tensor:
    """(count, D) centroids of k-means from one k-means++ start, on the CPU.

    In double precision, so that the order in which threads add does not show in the result.
    """
    clusters = KMeans(count, n_init=1, random_state=seed % 2**32).fit(x_ND.double().numpy())
    return torch.from_numpy(clusters.cluster_centers_).float()
