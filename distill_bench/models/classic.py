"""AlexNet and VGG-11 in the small form of the field's cross-architecture tables (Zhao, Mopuri and Bilen 2021)."""

from __future__ import annotations

import torch
from torch import nn

from distill_bench.groups import Norm
from distill_bench.models.convnet import norm_layer
from distill_bench.models.features import Features

__all__ = ["SmallAlexNet", "SmallVgg11"]


class _Stages(nn.Module):
    """Stages of (convolution, norm, ReLU), each followed by pooling, then one linear layer."""

    def __init__(self, stages: list[nn.Sequential], pools: list[nn.Module], features: int, num_classes: int) -> None:
        super().__init__()
        self.stages, self.pools = nn.ModuleList(stages), nn.ModuleList(pools)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, x: torch.Tensor, features: bool = False) -> torch.Tensor | Features:
        """Logits (B, K); with `features`, the map of each stage after its last ReLU, and the embedding."""
        maps = []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = stage(x)
            if features:
                maps.append(x)
            x = pool(x)
        embedding = x.flatten(1)
        logits = self.classifier(embedding)
        return Features(maps, embedding, logits) if features else logits


def _stage(widths: list[int], kernels: list[int], padding: list[int], norm: Norm, side: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, kernel, pad in zip(widths, widths[1:], kernels, padding, strict=False):
        layers += [nn.Conv2d(before, after, kernel, padding=pad), norm_layer(norm, after, side), nn.ReLU()]
    return nn.Sequential(*layers)


def _first_padding(channels: int, resolution: int, padding: int) -> tuple[int, int]:
    """(padding of the first convolution, side after it): one-channel 28x28 images become 32x32."""
    grown = 2 if (channels, resolution) == (1, 28) else 0
    return padding + grown, resolution + 2 * grown


class SmallAlexNet(_Stages):
    """Five convolutions (128, 192, 256, 192, 192 channels) with three max-poolings, one linear layer; no norm
    in the first three of the reference, whose variants differ: here every convolution has `norm`."""

    def __init__(self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.none) -> None:
        pad, side = _first_padding(channels, resolution, 2)
        stages = [
            _stage([channels, 128], [5], [pad], norm, side),
            _stage([128, 192], [5], [2], norm, side // 2),
            _stage([192, 256, 192, 192], [3, 3, 3], [1, 1, 1], norm, side // 4),
        ]
        pools: list[nn.Module] = [nn.MaxPool2d(2) for _ in range(3)]
        super().__init__(stages, pools, 192 * (side // 8) ** 2, num_classes)


class SmallVgg11(_Stages):
    """VGG-11 (64, 128, 256 x 2, 512 x 2, 512 x 2) with a max-pooling after each of the five stages, and one
    linear layer. Images of fewer than 32 pixels are pooled only while they can be halved."""

    def __init__(self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.instance) -> None:
        pad, side = _first_padding(channels, resolution, 1)
        plan = [[channels, 64], [64, 128], [128, 256, 256], [256, 512, 512], [512, 512, 512]]
        stages: list[nn.Sequential] = []
        pools: list[nn.Module] = []
        for number, widths in enumerate(plan):
            paddings = [pad if number == 0 else 1] + [1] * (len(widths) - 2)
            stages.append(_stage(widths, [3] * (len(widths) - 1), paddings, norm, side))
            pools.append(nn.MaxPool2d(2) if side > 1 else nn.Identity())
            side = max(1, side // 2)
        super().__init__(stages, pools, 512 * side * side, num_classes)
