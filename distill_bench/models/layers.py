"""Layers of M networks side by side.

Axes: B images, M networks, C channels of one network, H x W positions. The networks share nothing: their
channels are concatenated, (B, M C, H, W), and every parameter and buffer is concatenated on its first axis,
so that `tensor.chunk(M)` gives each network's own. A convolution is then a grouped convolution, instance,
group and batch normalisation are themselves, and the classifier is a batched product. With M = 1 these are
the ordinary layers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.groups import Norm, Pooling
from distill_bench.models.instance_norm import InstanceNorm

__all__ = [
    "Convolution",
    "HiddenLayer",
    "LayerNorm",
    "LinearHead",
    "channels_last",
    "normalisation",
    "pool",
]

GROUPS = 4  # of Norm.group


class Convolution(nn.Conv2d):
    """A convolution of M networks: weight (M C_out, C_in, k, k), bias (M C_out).

    Input (B, M C_in, H, W), or (B, C_in, H, W): then all networks read the same channels.
    """

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        size: int,
        copies: int,
        *,
        bias: bool = True,
        padding: int | None = None,
        stride: int = 1,
    ) -> None:
        padding = size // 2 if padding is None else padding
        super().__init__(
            copies * incoming,
            copies * outgoing,
            size,
            stride=stride,
            padding=padding,
            groups=copies,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        groups = x.shape[1] // self.weight.shape[1]
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=groups)


class LayerNorm(nn.Module):
    """Normalisation over (C, H, W) of each network, with a weight and a bias per entry, (M C, H, W)."""

    def __init__(self, channels: int, size: int, copies: int) -> None:
        super().__init__()
        self.copies = copies
        self.weight = nn.Parameter(torch.ones(copies * channels, size, size))
        self.bias = nn.Parameter(torch.zeros(copies * channels, size, size))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.group_norm(x, self.copies), self.weight)


class LinearHead(nn.Linear):
    """The last layer of M networks: embeddings (B, M D) to logits, (B, K) for one network, else (M, B, K)."""

    def __init__(self, incoming: int, classes: int, copies: int) -> None:
        super().__init__(incoming, copies * classes)
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        if self.copies == 1:
            return F.linear(x, self.weight, self.bias)
        x_MBD = x.unflatten(1, (self.copies, -1)).transpose(0, 1)
        weight_MDK = self.weight.unflatten(0, (self.copies, -1)).transpose(1, 2)
        return torch.baddbmm(self.bias.unflatten(0, (self.copies, 1, -1)), x_MBD, weight_MDK)


class HiddenLayer(nn.Linear):
    """A linear layer and ReLU of M networks: (B, M C, H, W), or (B, C, H, W) for all, to (B, M D, 1, 1)."""

    def __init__(self, incoming: int, outgoing: int, copies: int) -> None:
        super().__init__(incoming, copies * outgoing)
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if self.copies == 1 or flat.shape[1] == self.in_features:
            y = F.linear(flat, self.weight, self.bias)
        else:
            x_MBD = flat.unflatten(1, (self.copies, -1)).transpose(0, 1)
            weight_MDK = self.weight.unflatten(0, (self.copies, -1)).transpose(1, 2)
            y_MBK = torch.baddbmm(self.bias.unflatten(0, (self.copies, 1, -1)), x_MBD, weight_MDK)
            y = y_MBK.transpose(0, 1).flatten(1)
        return F.relu(y, inplace=True)[..., None, None]


def normalisation(norm: Norm, channels: int, size: int, copies: int) -> nn.Module:
    """The layer that follows a convolution with `channels` maps of `size` x `size` in each of `copies`
    networks.

    Instance norm is group norm with one channel a group, with affine parameters, as the field's code has it.
    """
    if norm is Norm.instance:
        return InstanceNorm(copies * channels)
    if norm is Norm.group:
        return nn.GroupNorm(copies * GROUPS, copies * channels)
    if norm is Norm.batch:
        return nn.BatchNorm2d(copies * channels)
    if norm is Norm.layer:
        return LayerNorm(channels, size, copies)
    return nn.Identity()


def channels_last(x: Tensor) -> Tensor:
    """The same images, (B, C, H, W), with the channels of a position side by side in memory."""
    if x.shape[1] == 1:  # any order of the channels is the same; the strides say which one is meant
        return x.contiguous().squeeze(1).unsqueeze(3).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def pool(x: Tensor, pooling: Pooling) -> Tensor:
    """Halve the map, 2 x 2 with stride 2 (a last odd row or column is left out), unless `pooling` is none."""
    if pooling is Pooling.max:
        return F.max_pool2d(x, 2)
    if pooling is Pooling.avg:
        even = x.shape[-1] % 2 == 0 and x.shape[-2] % 2 == 0
        return _mean_of_four(x) if even and x.device.type == "cpu" else F.avg_pool2d(x, 2)
    return x


def _mean_of_four(x: Tensor) -> Tensor:
    """avg_pool2d(x, 2) as two additions of halves: three times as fast on a CPU, forward and backward
    together."""
    upper, lower = x.unflatten(2, (-1, 2)).unbind(3)
    left, right = (upper + lower).unflatten(3, (-1, 2)).unbind(4)
    return (left + right) * 0.25
