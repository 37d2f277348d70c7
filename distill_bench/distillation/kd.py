r"""Knowledge distillation (Hinton, Vinyals and Dean, 2015, arXiv 1503.02531).

Legend: B images, K classes, T temperature, z logits, p = softmax(z / T).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench import training

__all__ = ["KnowledgeDistillation", "divergence"]


def divergence(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    r"""T^2 KL(p_t || p_s) of each image, (B,), in nats, from both logits.

    The factor T^2 keeps its gradient, :math:`T (p_s - p_t)`, as large as cross-entropy's (their section 2).
    """
    log_student, log_teacher = (F.log_softmax(z / temperature, dim=-1) for z in (student_BK, teacher_BK))
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1)


class KnowledgeDistillation(training.Objective):
    r""":math:`\gamma\, CE(z_s, y) + \alpha\, T^2 KL(p_t \| p_s)`, summed over images.

    Of several teachers p_t is the mean of their softened predictions (`training.mean_teacher`). They take
    images as the student sees them.
    """

    def __init__(
        self,
        teachers: Sequence[Callable[[Tensor], Tensor]],
        *,
        temperature: float,
        hard_weight: float,
        soft_weight: float,
    ) -> None:
        super().__init__()
        self._teacher = training.mean_teacher(teachers, temperature)
        self.temperature, self.hard_weight, self.soft_weight = temperature, hard_weight, soft_weight

    def forward(self, output: Tensor, batch: training.Batch) -> Tensor:
        """Of logits (B, K) of one network or (M, B, K)."""
        logits, images = output.flatten(0, -2), batch.images.flatten(0, 1)
        with torch.no_grad():
            teacher = self._teacher(images)
        soft = divergence(logits, teacher, self.temperature).sum()
        return self.hard_weight * training.hard_loss(output, batch) + self.soft_weight * soft
