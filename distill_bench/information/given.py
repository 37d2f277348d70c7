"""A classifier that is there already as the estimator of information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench.information.estimator import HELD, Estimator
from distill_bench.information.measures import centroids
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["given_estimator"]


class _OfPrior(nn.Module):
    """A classifier of pixels in [0, 1], for images in [-1, 1]."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor, features: bool = False) -> Any:
        pixels = (images + 1) / 2
        return self.classifier.taps(pixels) if features else self.classifier(pixels)


@torch.no_grad()
def given_estimator(data: ImageDataset, classifier: Any) -> Estimator:
    """A `products.Classifier` as the estimator for a prior of pixels.

    Its centroids are those of up to 50 training images of each class. It has no record of held-out images: it
    may have seen all of them, and it has seen no noise.
    """
    train = data.train
    count = min(HELD, train.smallest_class)
    indices = train.sample_per_class(count, generator(0, "estimator centroids", "given")).flatten()
    pieces = indices.to(train.labels.device).split(250)
    log_q = torch.cat([classifier(train.unit(piece)).log_softmax(1) for piece in pieces])
    labels = train.labels[indices.to(train.labels.device)]
    return Estimator(_OfPrior(classifier).eval().requires_grad_(False), centroids(log_q, labels), {})
