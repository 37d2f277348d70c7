"""Networks of transformed images as networks of pixels in [0, 1]: the normalisation goes inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill_bench import models

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["PixelNetworks"]


class PixelNetworks(nn.Module):
    """Modules of one or several networks each (`models.Network`), and the transform of their images.

    `copies`: networks in all, M. Pixels (M, B, C, H, W) in [0, 1], each network's own images, or
    (B, C, H, W) for one network -> logits (M, B, K). Gradients reach the pixels.
    """

    def __init__(self, modules: Sequence[nn.Module], transform: Transform) -> None:
        super().__init__()
        self.members, self.transform = nn.ModuleList(modules), transform
        self.sizes = [module.copies if isinstance(module, models.Network) else 1 for module in modules]
        self.copies = sum(self.sizes)

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels if pixels.ndim == 5 else pixels.unsqueeze(0)
        count, logits = pixels.shape[1], []
        for module, own in zip(self.members, pixels.split(self.sizes), strict=True):
            inputs = self.transform.forward_unit(own.flatten(0, 1))
            inputs = inputs if len(own) == 1 else inputs.unflatten(0, (len(own), count))
            logits.append(module(inputs).view(len(own), count, -1))
        return torch.cat(logits)
