"""The running mean of weights in training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["update_average", "warm_decay"]


def warm_decay(largest: float, step: int) -> float:
    """The decay after `step` updates: (1 + step) / (10 + step), at most `largest`.

    So a short training is averaged over its own end: our choice.
    """
    return min(largest, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    r"""One update of the running mean, in place: :math:`\bar w \leftarrow d \bar w + (1 - d) w`."""
    torch._foreach_lerp_(list(average), list(weights), 1 - decay)
