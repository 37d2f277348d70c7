"""Embeddings of a whole split, for coreset selection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_bench.training.batching import images_per_pass
from distill_bench.training.students import LabelledImages

__all__ = ["embeddings"]


@torch.no_grad()
def embeddings(net: nn.Module, split: LabelledImages, batch_size: int = 500) -> Tensor:
    """The network's embedding of every image of `split`, in order, in evaluation mode: (N, D), on its
    device."""
    was_training = net.training
    net.eval()
    parts = []
    for images, _ in split.batches(batch_size):
        piece = images_per_pass(net, images.device) or len(images)
        parts += [net(batch, features=True).embedding for batch in images.split(piece)]
    net.train(was_training)
    return torch.cat(parts)
