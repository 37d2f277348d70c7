"""VGG-11 at CIFAR size, as the cross-architecture tables of DC, DSA and DM use it (Zhao and Bilen)."""

from __future__ import annotations

from torch import nn

from distill_bench.groups import Norm, Pooling
from distill_bench.models.layers import Convolution, LinearHead, normalisation
from distill_bench.models.network import Network, halved, padded, sequence

__all__ = ["VGG11"]

BLOCKS = (
    (64,),
    (128,),
    (256, 256),
    (512, 512),
    (512, 512),
)  # channels of the convolutions up to each pooling


class VGG11(Network):
    """Eight convolutions 3x3 with bias, norm and ReLU in five blocks, max pooling after each, a linear
    classifier.

    9,231,114 parameters at 32 pixels, 3 channels, K = 10, with norm. Departures, for sizes that the published
    code does not take: the classifier reads the flattened map whatever its size, and a pooling that would
    leave the next norm a single position is left out.
    """

    def __init__(
        self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.instance, copies: int = 1
    ) -> None:
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution, "norm": norm}
        super().__init__(arguments, copies, resolution)
        size, extra = padded(resolution, channels)
        self.largest_map = 64 * size * size
        incoming = channels
        for number, block in enumerate(BLOCKS):
            layers: list[nn.Module] = []
            for width in block:
                layers += [Convolution(incoming, width, 3, copies, padding=1 + extra)]
                layers += [normalisation(norm, width, size, copies), nn.ReLU(inplace=True)]
                incoming, extra = width, 0
            self.blocks.append(sequence(layers))
            size, pooling = halved(size, 1 if number == len(BLOCKS) - 1 else 2, Pooling.max)
            self.pools.append(pooling)
        self.flat_side = size
        self.classifier = LinearHead(incoming * size * size, num_classes, copies)
