"""Residual networks (He et al., CVPR 2016) as the distillation literature evaluates with: ResNet-18 and
ResNetAP-10."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.groups import Norm, Pooling
from distill_bench.models.layers import Convolution, LinearHead, normalisation, pool
from distill_bench.models.network import Network, halved, sequence

__all__ = ["ResNet18", "ResNetAP10"]

STAGES = (64, 128, 256, 512)
SMALL, LARGE = 64, 128  # pixels: up to SMALL the stem is 3x3 alone, above LARGE it is 7x7


class BasicBlock(nn.Module):
    """Two convolutions 3x3 and a shortcut, which is a convolution 1x1 where the shape changes."""

    def __init__(self, incoming: int, width: int, stride: int, size: int, norm: Norm, copies: int) -> None:
        super().__init__()
        self.conv1 = Convolution(incoming, width, 3, copies, bias=False, stride=stride)
        self.norm1 = normalisation(norm, width, size, copies)
        self.conv2 = Convolution(width, width, 3, copies, bias=False)
        self.norm2 = normalisation(norm, width, size, copies)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or incoming != width:
            projection = Convolution(incoming, width, 1, copies, bias=False, stride=stride)
            self.shortcut = sequence([projection, normalisation(norm, width, size, copies)])

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return F.relu(y.add_(self.shortcut(x)), inplace=True)


class PooledBlock(nn.Module):
    """A basic block without strides: average pooling after its first convolution, and in its shortcut."""

    def __init__(
        self, incoming: int, width: int, size: int, pooling: Pooling, norm: Norm, copies: int
    ) -> None:
        super().__init__()
        self.pooling = pooling
        pooled = size if pooling is Pooling.none else size // 2
        self.conv1 = Convolution(incoming, width, 3, copies, bias=False)
        self.norm1 = normalisation(norm, width, size, copies)
        self.conv2 = Convolution(width, width, 3, copies, bias=False)
        self.norm2 = normalisation(norm, width, pooled, copies)
        self.projection: Convolution | None = None
        if incoming != width:
            self.projection = Convolution(incoming, width, 1, copies, bias=False)
            self.norm3 = normalisation(norm, width, pooled, copies)

    def forward(self, x: Tensor) -> Tensor:
        y = pool(F.relu(self.norm1(self.conv1(x)), inplace=True), self.pooling)
        y = self.norm2(self.conv2(y))
        if self.projection is not None:
            x = self.norm3(pool(self.projection(x), self.pooling))
        return F.relu(y + x, inplace=True)


class ResNet18(Network):
    """A stem, four stages of two blocks (64, 128, 256, 512 channels), global average pooling, linear.

    The stem is a convolution 3x3 up to 64 pixels, the same up to 128, and above a convolution 7x7 with stride
    2; above 64 pixels max pooling 3x3 with stride 2 and padding 1 follows (Minimax's code). 11,173,962
    parameters at 32 pixels, 3 channels and K = 10. `Features.maps` are the stages' outputs; the embedding has
    length 512. Departures: global average pooling at every resolution (the published code pools 4x4, the same
    at 32 pixels), and a stride that would leave a single position is 1 (only below 16 pixels).
    """

    def __init__(
        self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.instance, copies: int = 1
    ) -> None:
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution, "norm": norm}
        super().__init__(arguments, copies, resolution)
        layers, size = self._stem(channels, resolution, norm, copies)
        incoming = STAGES[0]
        for number, width in enumerate(STAGES):
            stride = 2 if number and size > 2 else 1
            size = -(-size // stride)
            layers += [BasicBlock(incoming, width, stride, size, norm, copies)]
            layers += [BasicBlock(width, width, 1, size, norm, copies)]
            self.blocks.append(sequence(layers))
            self.pools.append(Pooling.none)
            incoming, layers = width, []
        self.classifier = LinearHead(incoming, num_classes, copies)

    def _stem(self, channels: int, resolution: int, norm: Norm, copies: int) -> tuple[list[nn.Module], int]:
        """The layers before the first stage, and the size of the map that they leave."""
        large, size = resolution > LARGE, resolution
        first = Convolution(
            channels, STAGES[0], 7 if large else 3, copies, bias=False, stride=2 if large else 1
        )
        size = -(-size // 2) if large else size
        self.largest_map = STAGES[0] * size * size
        layers = [first, normalisation(norm, STAGES[0], size, copies), nn.ReLU(inplace=True)]
        if resolution <= SMALL:
            return layers, size
        return [*layers, nn.MaxPool2d(3, stride=2, padding=1)], -(-size // 2)

    def summarise(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class ResNetAP10(Network):
    """A stem, four stages of one block (64, 128, 256, 512 channels), global average pooling, linear.

    No convolution has a stride, and all pooling is average pooling. The stem is a convolution 7x7 and pooling
    4x4 above 128 pixels, 3x3 and pooling 2x2 above 64, else 3x3 alone. Departure: a pooling that would leave
    a norm a single position is left out (only below 16 pixels).
    """

    def __init__(
        self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.instance, copies: int = 1
    ) -> None:
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution, "norm": norm}
        super().__init__(arguments, copies, resolution)
        stem = Convolution(channels, STAGES[0], 7 if resolution > LARGE else 3, copies, bias=False)
        layers = [stem, normalisation(norm, STAGES[0], resolution, copies), nn.ReLU(inplace=True)]
        self.largest_map = STAGES[0] * resolution * resolution
        factor = 4 if resolution > LARGE else 2 if resolution > SMALL else 1
        if factor > 1:
            layers.append(nn.AvgPool2d(factor))
        incoming, size = STAGES[0], resolution // factor
        for number, width in enumerate(STAGES):
            after, pooling = halved(size, 2, Pooling.avg if number else Pooling.none)
            layers.append(PooledBlock(incoming, width, size, pooling, norm, copies))
            self.blocks.append(sequence(layers))
            self.pools.append(Pooling.none)
            incoming, size, layers = width, after, []
        self.classifier = LinearHead(incoming, num_classes, copies)

    def summarise(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
