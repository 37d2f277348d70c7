"""What a network gives besides its logits."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["Features"]


class Features(NamedTuple):
    """The activations of B images, returned by ``net(x, features=True)``: no hooks, gradients flow."""

    maps: list[torch.Tensor]  # per block, after ReLU and before pooling: (B, C_l, H_l, W_l)
    embedding: torch.Tensor  # the flattened output of the last block, after its pooling: (B, D)
    logits: torch.Tensor  # (B, K)
