"""The ConvNet of dataset distillation (Gidaris and Komodakis 2018, as in Zhao, Mopuri and Bilen 2021)."""

from __future__ import annotations

from typing import overload

import torch
from torch import nn

from distill_bench.errors import require
from distill_bench.groups import Norm, Pooling
from distill_bench.models.features import Features

__all__ = ["ConvNet", "norm_layer", "usual_depth"]

_DEPTHS = {8: 2, 16: 2, 28: 3, 32: 3, 64: 4, 128: 5, 224: 6, 256: 6}


def usual_depth(resolution: int) -> int:
    """The field's number of blocks for an image side in pixels (UserError for a side without one)."""
    known = ", ".join(map(str, _DEPTHS))
    require(resolution in _DEPTHS, "student.depth", 0, f"given for resolution {resolution}; known for {known}")
    return _DEPTHS[resolution]


def norm_layer(norm: Norm, channels: int, resolution: int) -> nn.Module:
    """The normalisation of a map of `channels` x `resolution` x `resolution`; affine, as the field has it.

    Instance norm is GroupNorm with one channel a group: it never keeps running statistics.
    """
    if norm is Norm.instance:
        return nn.GroupNorm(channels, channels)
    if norm is Norm.batch:
        return nn.BatchNorm2d(channels)
    if norm is Norm.group:
        return nn.GroupNorm(4, channels)
    if norm is Norm.layer:
        return nn.LayerNorm([channels, resolution, resolution])
    return nn.Identity()


def _pool_layer(pooling: Pooling) -> nn.Module:
    layers: dict[Pooling, nn.Module] = {Pooling.avg: nn.AvgPool2d(2), Pooling.max: nn.MaxPool2d(2)}
    return layers.get(pooling, nn.Identity())


class ConvNet(nn.Module):
    """`depth` blocks of 3x3 convolution, norm, ReLU and 2x2 pooling, then one linear layer.

    A 28x28 image of one channel is padded to 32x32 by the first convolution, as in the reference. With the
    defaults and 32x32 colour images: 320,010 parameters for 10 classes, an embedding of 2048 values.
    """

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        resolution: int,
        width: int = 128,
        depth: int = 3,
        norm: Norm = Norm.instance,
        pooling: Pooling = Pooling.avg,
    ) -> None:
        super().__init__()
        first_padding = 3 if (channels, resolution) == (1, 28) else 1
        side = resolution + 2 * (first_padding - 1)
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for block in range(depth):
            padding = first_padding if block == 0 else 1
            self.convolutions.append(nn.Conv2d(channels if block == 0 else width, width, 3, padding=padding))
            self.norms.append(norm_layer(norm, width, side))
            side = side if pooling is Pooling.none else side // 2
        require(side >= 1, "student.depth", depth, f"smaller: a {resolution}x{resolution} image is pooled away")
        self.pool = _pool_layer(pooling)
        self.classifier = nn.Linear(width * side * side, num_classes)

    @overload
    def forward(self, x: torch.Tensor) -> torch.Tensor: ...
    @overload
    def forward(self, x: torch.Tensor, features: bool) -> Features: ...
    def forward(self, x: torch.Tensor, features: bool = False) -> torch.Tensor | Features:
        """Logits (B, K) of images (B, C, H, W); with `features`, the activations too."""
        maps = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
            if features:
                maps.append(x)
            x = self.pool(x)
        embedding = x.flatten(1)
        logits = self.classifier(embedding)
        return Features(maps, embedding, logits) if features else logits
