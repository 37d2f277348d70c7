"""What every student has in common: blocks, a pooling after each, and a linear classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from distill_bench.groups import Initial, Pooling
from distill_bench.models.layers import LinearHead, channels_last, pool

__all__ = ["Features", "Network"]


class Features(NamedTuple):
    """What a network makes of B images on the way to its logits."""

    maps: list[Tensor]  # per block, what it gives before pooling, (B, C_l, H_l, W_l): mostly its last ReLU
    embedding: Tensor  # (B, D): what the classifier reads
    logits: Tensor  # (B, K)


class Network(nn.Module):
    """`copies` networks of one architecture, trained side by side (see `layers`); one by default.

    `x` is (B, C, H, W). With M > 1 copies it may also be (M, B, C, H, W), each network's own images, and
    logits are (M, B, K). With `features=True` (one network only) the result is `Features`.
    """

    initial: Initial = Initial.uniform
    """The law of fresh parameters."""
    channels_last: ClassVar[bool] = False
    """Whether it computes on a CPU with the channels of a position side by side in memory: faster where most
    maps have few channels, equal up to rounding."""

    def __init__(self, arguments: dict[str, Any], copies: int, resolution: int) -> None:
        super().__init__()
        self.arguments = arguments  # the arguments of the class, but for `copies`
        self.copies = copies
        self.resolution = resolution
        self.blocks = nn.ModuleList()
        self.pools: list[Pooling] = []  # after each block
        self.largest_map: int  # C H W of the largest map of one network, for one image
        self.classifier: LinearHead

    def times(self, copies: int) -> Self:
        """A new network of the same architecture with this many copies; its parameters are not these."""
        return type(self)(**self.arguments, copies=copies)

    def summarise(self, x: Tensor) -> Tensor:
        """The embedding of the last block's pooled output: flattened."""
        return x.flatten(1)

    def forward(self, x: Tensor, features: bool = False) -> Any:
        if x.ndim == 5:
            x = x.transpose(0, 1).flatten(1, 2)
        if self.channels_last and x.device.type == "cpu":
            x = channels_last(x)
        maps = []
        for block, pooling in zip(self.blocks, self.pools, strict=True):
            x = block(x)
            if features:
                maps.append(x)
            x = pool(x, pooling)
        embedding = self.summarise(x)
        logits = self.classifier(embedding)
        if not features:
            return logits
        if self.copies != 1:
            raise ValueError("features are those of one network")
        return Features(maps, embedding, logits)


def halved(size: int, smallest: int, pooling: Pooling) -> tuple[int, Pooling]:
    """(map size after pooling, the pooling), which is left out where the map would fall below `smallest`."""
    if pooling is Pooling.none or size // 2 < smallest:
        return size, Pooling.none
    return size // 2, pooling


def padded(size: int, channels: int) -> tuple[int, int]:
    """(map size after the first convolution, extra padding): 28-pixel images of one channel become 32 x
    32."""
    return (32, 2) if (size, channels) == (28, 1) else (size, 0)


def sequence(layers: Sequence[nn.Module]) -> nn.Sequential:
    """The layers in a row, without those that do nothing."""
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
