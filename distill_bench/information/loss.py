"""The loss that makes a classifier informative about what varies inside a class (MCMI)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from distill_bench.information.measures import divergence

__all__ = ["mcmi_loss"]


def mcmi_loss(logits_NK: Tensor, labels_N: Tensor, centroid_KK: Tensor | None, weight: float) -> Tensor:
    r"""Cross-entropy less the conditional mutual information that the predictions carry (Ye et al., ICLR
    2024).

    .. math:: CE(q(\cdot|x), y) - \lambda\, KL(q(\cdot|x) \| sg[Q_y])

    Mean over samples. No gradient reaches the centroids; without them, or with weight 0, plain cross-entropy.
    """
    loss = F.cross_entropy(logits_NK, labels_N)
    if centroid_KK is None or not weight:
        return loss
    centroid_NK = centroid_KK.detach()[labels_N]
    return loss - weight * divergence(logits_NK.log_softmax(1), centroid_NK, floor=1e-8).mean()
