"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016): wrn_16_2, wrn_40_1, wrn_34_10 and the like."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.groups import Initial, Norm, Pooling
from distill_bench.models.layers import Convolution, LinearHead, normalisation
from distill_bench.models.network import Network, sequence

__all__ = ["WideResNet"]


class PreactivationBlock(nn.Module):
    """Batch norm and ReLU before each of two convolutions 3x3, and a shortcut.

    The shortcut of a block that changes the number of channels is a convolution 1x1 of what the first
    convolution reads; of any other, the raw input.
    """

    def __init__(self, incoming: int, width: int, stride: int, copies: int) -> None:
        super().__init__()
        self.norm1 = normalisation(Norm.batch, incoming, 0, copies)
        self.conv1 = Convolution(incoming, width, 3, copies, bias=False, stride=stride)
        self.norm2 = normalisation(Norm.batch, width, 0, copies)
        self.conv2 = Convolution(width, width, 3, copies, bias=False)
        self.projection: Convolution | None = None
        if incoming != width or stride != 1:
            self.projection = Convolution(incoming, width, 1, copies, bias=False, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        y = self.conv2(F.relu(self.norm2(self.conv1(active)), inplace=True))
        return y.add_(x if self.projection is None else self.projection(active))


class WideResNet(Network):
    """A stem 3x3 and three stages of (depth - 4) / 6 blocks with 16, 32, 64 times `width` channels, batch
    norm and ReLU, global average pooling, linear.

    2,255,156 parameters for depth 40, width 2 and K = 100. `Features.maps` are the outputs of the stem and of
    the stages, raw: the next batch norm and ReLU are not in them, so values may be negative. The embedding is
    the last one's mean after the last batch norm and ReLU. Without dropout. Images of any size; the maps have
    the image's size, twice, half of it and a quarter.
    """

    initial = Initial.fan_out_no_bias
    channels_last = True

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        resolution: int,
        depth: int = 16,
        width: int = 1,
        copies: int = 1,
    ) -> None:
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution}
        super().__init__({**arguments, "depth": depth, "width": width}, copies, resolution)
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.largest_map = widths[1] * resolution * resolution
        self.blocks.append(Convolution(channels, widths[0], 3, copies, bias=False))
        for number, (incoming, outgoing) in enumerate(pairwise(widths)):
            first = PreactivationBlock(incoming, outgoing, 2 if number else 1, copies)
            others = [PreactivationBlock(outgoing, outgoing, 1, copies) for _ in range((depth - 4) // 6 - 1)]
            self.blocks.append(sequence([first, *others]))
        self.pools = [Pooling.none] * len(self.blocks)
        self.norm = normalisation(Norm.batch, widths[-1], 0, copies)
        self.classifier = LinearHead(widths[-1], num_classes, copies)

    def last_map(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(x), inplace=True)

    def summarise(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
