"""What students are trained towards: hard labels, in their shares where images are mixed, or a teacher's soft
ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from distill_bench.training.batches import Batch

__all__ = ["hard_loss", "soft_loss"]


def hard_loss(logits: Tensor, batch: Batch) -> Tensor:
    r"""Cross-entropy summed over all images, of `logits` (B, K) of one network or (M, B, K).

    Of mixed images :math:`\lambda \, CE(y_a) + (1 - \lambda) \, CE(y_b)`, with the share :math:`\lambda` that
    is kept.
    """
    logits_NK = logits.flatten(0, -2)
    if batch.share is None or batch.others is None:
        return F.cross_entropy(logits_NK, batch.labels.flatten(), reduction="sum")
    own, other = (
        F.cross_entropy(logits_NK, y.flatten(), reduction="none") for y in (batch.labels, batch.others)
    )
    share_N = batch.share[:, None].expand(batch.labels.shape).flatten()
    return (share_N * own + (1 - share_N) * other).sum()


def soft_loss(logits_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    r"""KL(softmax(t / :math:`\tau`) || softmax(s / :math:`\tau`)), summed over images, without the factor
    :math:`\tau^2`: as the released code of RDED has it."""
    student, teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (logits_NK, teacher_NK))
    return F.kl_div(student, teacher, reduction="sum", log_target=True)
