"""The multilayer perceptron: hidden layers with ReLU on the flattened image."""

from __future__ import annotations

from distill_bench.groups import Pooling
from distill_bench.models.layers import HiddenLayer, LinearHead
from distill_bench.models.network import Network

__all__ = ["Mlp"]


class Mlp(Network):
    """`depth` hidden layers of `width` units with ReLU (0: two), then a linear classifier.

    Input of C H W values, so (C H W + 1) width + (depth - 1) (width + 1) width + (width + 1) K parameters.
    `Features.maps` are the hidden activations, (B, width, 1, 1); the embedding is the last of them,
    (B, width).
    """

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        resolution: int,
        width: int = 128,
        depth: int = 0,
        copies: int = 1,
    ) -> None:
        arguments = {"channels": channels, "num_classes": num_classes, "resolution": resolution}
        super().__init__({**arguments, "width": width, "depth": depth}, copies, resolution)
        incoming = channels * resolution * resolution
        self.largest_map = max(width, incoming)
        for _ in range(depth or 2):
            self.blocks.append(HiddenLayer(incoming, width, copies))
            incoming = width
        self.pools = [Pooling.none] * len(self.blocks)
        self.flat_side = 1
        self.classifier = LinearHead(width, num_classes, copies)
