"""What a classifier says about a labelled set: are the labels right, how sure is it, how varied are the
classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.information.measures import cmi, log_likelihood

__all__ = ["feature_diversity", "measure"]


def feature_diversity(features_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Mean cosine distance of pairs of different images of a class; 0 where no class has two.

    From class sums of unit vectors: the cosines of all ordered pairs of a class add up to |sum|^2 - n.
    """
    units = F.normalize(features_ND.double(), dim=1)
    members = F.one_hot(labels_N).to(units.dtype).T
    counts = members.sum(1)
    pairs = counts * (counts - 1)
    cosines = (members @ units).square().sum(1) - members @ units.square().sum(1)
    return (
        (1 - cosines[pairs > 0] / pairs[pairs > 0]).mean() if bool((pairs > 0).any()) else units.new_zeros(())
    )


@torch.no_grad()
def measure(net: Callable[..., Any], images: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    """`label_agreement` (%), `log_likelihood`, `cmi` (nats) and `feature_diversity` of images (N, C, H, W)
    under `net`.

    `net(images, features=True)` gives an embedding and logits; it should be in evaluation mode, and should
    not have had a part in making the images.
    """
    parts = [net(batch, features=True) for batch in images.split(250)]
    logits = torch.cat([part.logits for part in parts]).double()[:, :num_classes]
    log_q = logits.log_softmax(1)
    embeddings = torch.cat([part.embedding.flatten(1) for part in parts])
    return {
        "label_agreement": 100 * float((logits.argmax(1) == labels).double().mean()),
        "log_likelihood": float(log_likelihood(log_q, labels)),
        "cmi": max(0.0, float(cmi(log_q, labels))),
        "feature_diversity": float(feature_diversity(embeddings, labels)),
    }
