"""The images from which a method starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench.matching.coresets import coreset_features, select_coreset
from distill_bench.matching.settings import FeatureSource, Init

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import ProtocolConfig, StudentConfig
    from distill_bench.running import Run

__all__ = ["initial_images", "random_indices"]


def random_indices(run: Run, data: ImageDataset, per_class: int) -> Tensor:
    """Training-set indices (K, IPC) of random real images: the same for every method under one seed."""
    return data.train.sample_per_class(per_class, run.generator("init"))


def initial_images(
    run: Run,
    data: ImageDataset,
    per_class: int,
    init: Init,
    student: StudentConfig,
    protocol: ProtocolConfig | None,
) -> Tensor:
    """Images (K, IPC, C, H, W) to start from, as networks see them.

    A coreset is selected in the features of `student`, trained on the whole training set as `protocol` says;
    other images need no protocol.
    """
    shape = (data.num_classes, per_class, data.channels, data.resolution, data.resolution)
    if init is Init.noise:
        return torch.randn(shape, generator=run.generator("init"), device=run.device)
    if init is Init.real:
        indices = random_indices(run, data, per_class)
    else:
        features = coreset_features(run, data, FeatureSource.trained, student, protocol)
        indices = select_coreset(data, init, features, per_class)
    return data.train.images(indices.flatten()).reshape(shape).clone()
