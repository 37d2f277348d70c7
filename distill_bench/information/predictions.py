"""What guidance asks of one or two classifiers in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["Predict", "Predictions"]


class Predictions(NamedTuple):
    """Logits before any temperature: of the labels (B, K), and, if they are asked for, of the symbols of a
    channel (B, S)."""

    labels: Tensor
    symbols: Tensor | None = None


Predict = Callable[[Tensor], Predictions]
"""What a prior diffuses (B, C, H, W) -> its predictions."""
