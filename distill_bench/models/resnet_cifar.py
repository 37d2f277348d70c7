"""Residual networks for 32-pixel images (He et al., CVPR 2016, section 4.2), as the knowledge distillation
literature trains them (Tian et al., ICLR 2020): resnet8 to resnet110, and resnet8x4 and resnet32x4."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from distill_bench.groups import Initial, Norm, Pooling
from distill_bench.models.layers import Convolution, LinearHead, normalisation
from distill_bench.models.network import Network, sequence
from distill_bench.models.resnet import BasicBlock

__all__ = ["CifarResNet"]


class CifarResNet(Network):
    """A stem 3x3 and three stages of (depth - 2) / 6 basic blocks with batch norm, global average pooling,
    linear.

    `widths`: channels of the stem and of the three stages. The second and the third stage halve the map; a
    shortcut where the shape changes is a convolution 1x1 with batch norm. 83,892 parameters for depth 8,
    widths 16, 16, 32, 64 and K = 100. `Features.maps` are the outputs of the stem and of the stages, after
    their ReLU; the embedding is their last one's mean. Images of any size; no pooling, so the maps have the
    image's size, twice, half of it and a quarter.
    """

    initial = Initial.fan_out
    channels_last = True

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        resolution: int,
        depth: int = 20,
        widths: list[int] | None = None,
        copies: int = 1,
    ) -> None:
        widths = widths or [16, 16, 32, 64]
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution}
        super().__init__({**arguments, "depth": depth, "widths": widths}, copies, resolution)
        self.largest_map = max(widths[:2]) * resolution * resolution
        stem = Convolution(channels, widths[0], 3, copies, bias=False)
        norm = normalisation(Norm.batch, widths[0], resolution, copies)
        self.blocks.append(sequence([stem, norm, nn.ReLU(inplace=True)]))
        for number, (incoming, width) in enumerate(pairwise(widths)):
            size = -(-resolution // 2**number)
            strides = [2 if number else 1] + [1] * ((depth - 2) // 6 - 1)
            inputs = [incoming] + [width] * (len(strides) - 1)
            blocks = [
                BasicBlock(before, width, stride, size, Norm.batch, copies)
                for before, stride in zip(inputs, strides, strict=True)
            ]
            self.blocks.append(sequence(blocks))
        self.pools = [Pooling.none] * len(self.blocks)
        self.classifier = LinearHead(widths[-1], num_classes, copies)

    def summarise(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
