"""AlexNet at CIFAR size, as the cross-architecture tables of DC, DSA and DM use it (Zhao and Bilen)."""

from __future__ import annotations

from torch import nn

from distill_bench.groups import Pooling
from distill_bench.models.layers import Convolution, LinearHead
from distill_bench.models.network import Network, halved, padded, sequence

__all__ = ["AlexNet"]

BLOCKS = (((128, 5),), ((192, 5),), ((256, 3), (192, 3), (192, 3)))  # (channels, kernel) up to each pooling


class AlexNet(Network):
    """Five convolutions without normalisation in three blocks, max pooling after each, a linear classifier.

    1,872,202 parameters at 32 pixels, 3 channels and K = 10. The embedding is the flattened map, so its
    length follows the resolution (3,072 at 32 pixels).
    """

    def __init__(self, *, channels: int, num_classes: int, resolution: int, copies: int = 1) -> None:
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution}
        super().__init__(arguments, copies, resolution)
        size, extra = padded(resolution, channels)
        self.largest_map = 128 * size * size
        incoming = channels
        for block in BLOCKS:
            layers: list[nn.Module] = []
            for width, kernel in block:
                layers += [Convolution(incoming, width, kernel, copies, padding=kernel // 2 + extra)]
                layers += [nn.ReLU(inplace=True)]
                incoming, extra = width, 0
            self.blocks.append(sequence(layers))
            size, pooling = halved(size, 1, Pooling.max)
            self.pools.append(pooling)
        self.flat_side = size
        self.classifier = LinearHead(incoming * size * size, num_classes, copies)
