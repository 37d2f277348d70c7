"""ResNet-18 for small images: a 3x3 stem and no max-pooling (He et al. 2016, as used on CIFAR)."""

from __future__ import annotations

import torch
from torch import nn

from distill_bench.groups import Norm
from distill_bench.models.convnet import norm_layer
from distill_bench.models.features import Features

__all__ = ["SmallResNet18"]


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, 1x1 where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, norm: Norm, side: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.first_norm = norm_layer(norm, after, side)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = norm_layer(norm, after, side)
        self.shortcut: nn.Module = nn.Identity()
        if (before, stride) != (after, 1):
            shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, norm_layer(norm, after, side))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(out)) + self.shortcut(x))


class SmallResNet18(nn.Module):
    """Four stages of two basic blocks with 64, 128, 256, 512 channels, global average pooling, one linear layer."""

    def __init__(self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.batch) -> None:
        super().__init__()
        side = resolution
        self.stem = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.stem_norm = norm_layer(norm, 64, side)
        self.stages = nn.ModuleList()
        before = 64
        for after in (64, 128, 256, 512):
            stride = 1 if after == 64 else 2
            side = (side - 1) // stride + 1
            blocks = [_BasicBlock(before, after, stride, norm, side), _BasicBlock(after, after, 1, norm, side)]
            self.stages.append(nn.Sequential(*blocks))
            before = after
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor, features: bool = False) -> torch.Tensor | Features:
        """Logits (B, K); with `features`, the map of each stage after its last ReLU, and the pooled embedding."""
        x = torch.relu(self.stem_norm(self.stem(x)))
        maps = []
        for stage in self.stages:
            x = stage(x)
            if features:
                maps.append(x)
        embedding = x.mean((2, 3))
        logits = self.classifier(embedding)
        return Features(maps, embedding, logits) if features else logits
