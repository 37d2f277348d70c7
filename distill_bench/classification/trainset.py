"""What a classifier learns from: the training images of a data set, a share of them, or a synthetic set.

Legend: N images, K classes, n_k images of class k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench.errors import UserError
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset, Transform
    from distill_bench.groups import TrainsetConfig
    from distill_bench.products import SyntheticSet

__all__ = ["TrainingImages", "some_of_each_class", "training_images"]


@dataclass(frozen=True)
class TrainingImages:
    """Images (n, C, H, W) by their indices, as `transform` made them of pixels, with labels (N,)."""

    fetch: Callable[[Tensor], Tensor]
    labels: Tensor
    transform: Transform

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, indices: Tensor) -> TrainingImages:
        """Those at `indices`, numbered anew in this order."""
        return replace(self, fetch=lambda i: self.fetch(indices[i]), labels=self.labels[indices])


def training_images(
    data: ImageDataset, config: TrainsetConfig, sets: Sequence[SyntheticSet]
) -> TrainingImages:
    """What `trainset=` names; `sets` are the products that it stands for, one or none.

    UserError for a synthetic set of other classes.
    """
    if not sets:
        whole = TrainingImages(data.train.images, data.train.labels, data.transform)
        if config.fraction == 1:
            return whole
        counts_K = (config.fraction * data.train.class_counts).round().long().clamp_min(1)
        return whole.only(some_of_each_class(whole.labels, counts_K, generator(0, "trainset")))
    (synthetic,) = sets
    if list(synthetic.class_names) != list(data.class_names):
        raise UserError(f"trainset={config.name}: a set of other classes than those of dataset={data.name}")
    return TrainingImages(synthetic.inputs().__getitem__, synthetic.labels, synthetic.transform)


def some_of_each_class(labels_N: Tensor, counts_K: Tensor, draws: torch.Generator) -> Tensor:
    """Indices, in order, of counts[k] random images of each class k; all of a class that has fewer."""
    keys_N = torch.rand(len(labels_N), generator=draws, dtype=torch.float64).to(labels_N.device)
    order = (labels_N + keys_N).argsort()  # class by class, each in random order
    sizes_K = labels_N.bincount(minlength=len(counts_K))
    first_K = sizes_K.cumsum(0) - sizes_K
    ranks = torch.arange(len(labels_N), device=labels_N.device) - first_K[labels_N[order]]
    return order[ranks < counts_K[labels_N[order]]].sort().values
