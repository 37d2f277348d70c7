"""Embeddings of a whole split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from distill_bench.data import Split

__all__ = ["embeddings"]


@torch.no_grad()
def embeddings(net: nn.Module, split: Split, batch: int = 256) -> torch.Tensor:
    """The flattened last-block output (N, D) of every image of `split`, in order, in evaluation mode."""
    net.eval()
    return torch.cat([net(images, features=True).embedding for images, _ in split.batches(batch)])
