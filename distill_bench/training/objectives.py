"""What networks are trained towards.

Axes: M networks, B images of a batch, K classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.training.batches import Batch

__all__ = [
    "CrossEntropy",
    "LabelSmoothing",
    "Objective",
    "SoftLabels",
    "hard_loss",
    "mean_teacher",
    "soft_loss",
]


class Objective(nn.Module, ABC):
    """A loss. `fit` trains the parameters that it owns together with the network's, and saves its buffers.

    features: it reads `models.Features` of one network in place of logits. whole: it compares the images of a
    batch, which must then not be cut into pieces.
    """

    features: bool = False
    whole: bool = False
    epoch: int = 0  # that of the batch at hand

    @abstractmethod
    def forward(self, output: Any, batch: Batch) -> Tensor:
        """The loss summed over all images of all networks; `output` is what the network makes of the images:
        logits (B, K) of one network, (M, B, K) of several, or Features."""

    def begin_epoch(self, epoch: int) -> None:
        """What is to be done before an epoch; what it changes is a buffer."""


class CrossEntropy(Objective):
    """Cross-entropy with the labels; of mixed images, with both in their shares."""

    def forward(self, output: Tensor, batch: Batch) -> Tensor:
        return hard_loss(output, batch)


class LabelSmoothing(Objective):
    r""":math:`-\sum_k q_k \log p_k` with :math:`q_k = (1 - \epsilon) 1\{k = y\} + \epsilon / K`."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, output: Tensor, batch: Batch) -> Tensor:
        return hard_loss(output, batch, self.smoothing)


class SoftLabels(Objective):
    """`soft_loss` from the logits of a teacher, images (B, C, H, W) -> (B, K), of the very same images."""

    def __init__(self, teacher: Callable[[Tensor], Tensor], temperature: float) -> None:
        super().__init__()
        self._teacher = (teacher,)  # in a tuple: no part of this module
        self.temperature = temperature

    def forward(self, output: Tensor, batch: Batch) -> Tensor:
        images = batch.images.flatten(0, 1)
        with torch.no_grad():
            targets = self._teacher[0](images)
        return soft_loss(output.flatten(0, -2), targets, self.temperature)


def mean_teacher(
    teachers: Sequence[Callable[[Tensor], Tensor]], temperature: float
) -> Callable[[Tensor], Tensor]:
    """One teacher as it is; of several, logits whose softened predictions are the mean of theirs.

    Our choice: Hinton's ensembles have the arithmetic or the geometric mean.
    """
    if len(teachers) == 1:
        return teachers[0]

    def logits(images: Tensor) -> Tensor:
        each = torch.stack([F.log_softmax(teacher(images) / temperature, dim=-1) for teacher in teachers])
        return temperature * (each.logsumexp(0) - math.log(len(each)))

    return logits


def hard_loss(logits: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    r"""Cross-entropy summed over all images, of `logits` (B, K) of one network or (M, B, K).

    Of mixed images :math:`\lambda \, CE(y_a) + (1 - \lambda) \, CE(y_b)`, with the share :math:`\lambda` that
    is kept. Of several predictions an image, (B, G, K) or (M, B, G, K), their mean: all have its labels and
    its share. `smoothing` is epsilon of label smoothing.
    """
    logits_NK = logits.flatten(0, -2)
    each = len(logits_NK) // batch.labels.numel()  # G

    def entropy(labels_MB: Tensor, reduction: str) -> Tensor:
        labels_N = labels_MB.flatten().repeat_interleave(each)
        return F.cross_entropy(logits_NK, labels_N, reduction=reduction, label_smoothing=smoothing)

    if batch.share is None or batch.others is None:
        return entropy(batch.labels, "sum") / each
    own, other = (entropy(labels, "none") for labels in (batch.labels, batch.others))
    share_N = batch.share[:, None].expand(batch.labels.shape).flatten().repeat_interleave(each)
    return (share_N * own + (1 - share_N) * other).sum() / each


def soft_loss(logits_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    r"""KL(softmax(t / :math:`\tau`) || softmax(s / :math:`\tau`)), summed over images, without the factor
    :math:`\tau^2`: as the released code of RDED has it."""
    student, teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (logits_NK, teacher_NK))
    return F.kl_div(student, teacher, reduction="sum", log_target=True)
