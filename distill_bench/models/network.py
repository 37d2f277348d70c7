"""What every student has in common: blocks, a pooling after each, and a linear classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.errors import UserError
from distill_bench.groups import Initial, Pooling
from distill_bench.models.layers import LinearHead, channels_last, pool

__all__ = ["Features", "Network", "keeps_positions"]


class Features(NamedTuple):
    """What a network makes of B images on the way to its logits."""

    maps: list[Tensor]  # per block, what it gives before pooling, (B, C_l, H_l, W_l): mostly its last ReLU
    embedding: Tensor  # (B, D): what the classifier reads
    logits: Tensor  # (B, K)


class Network(nn.Module):
    """`copies` networks of one architecture, trained side by side (see `layers`); one by default.

    `x` is (B, C, H, W). With M > 1 copies it may also be (M, B, C, H, W), each network's own images, and
    logits are (M, B, K). With `features=True` (one network only) the result is `Features`. Once asked for
    `cells`, it predicts each part of an image while it is trained (see `predict_cells`).
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
        self.cells = 1  # parts a side of which each has its own prediction in training
        self.flat_side = 0  # side of the map that the embedding flattens; 0: it is the map's mean
        self.blocks = nn.ModuleList()
        self.pools: list[Pooling] = []  # after each block
        self.largest_map: int  # C H W of the largest map of one network, for one image
        self.classifier: LinearHead

    def times(self, copies: int) -> Self:
        """A new network of the same architecture with this many copies; its parameters are not these."""
        net = type(self)(**self.arguments, copies=copies)
        if self.cells > 1:
            net.predict_cells(self.cells)
        return net

    def predict_cells(self, cells: int) -> None:
        r"""Take another head, a convolution 1x1 on the last map averaged down to `cells` x `cells` positions.

        In training, logits are (B, cells^2, K), or (M, B, cells^2, K): one prediction for each position,
        column by column. Else the same convolution reads the mean of the whole map: where the map's side is
        a multiple of `cells`, that is the mean of the logits of all positions. The last pooling is left out
        where it would leave fewer positions (of average pooling the mean is the same). Source: the first
        author's code of IGDS; there a ConvNet's head is broken, here it is the same as any other's. UserError
        for a network without such a map.
        """
        self.cells = cells
        if not self.flat_side:
            return
        if self.flat_side < cells:
            if self.pools[-1] is Pooling.none or 2 * self.flat_side < cells:
                raise UserError(
                    f"student={type(self).__name__.lower()}: its last map has no {cells}x{cells} positions, "
                    f"each of which predicts a part of a canvas (protocol.canvas={cells})"
                )
            self.pools[-1] = Pooling.none
        head = self.classifier
        channels, classes = head.in_features // self.flat_side**2, head.out_features // self.copies
        self.classifier = LinearHead(channels, classes, self.copies)

    def last_map(self, x: Tensor) -> Tensor:
        """What the embedding summarises, from the last block's pooled output."""
        return x

    def summarise(self, x: Tensor) -> Tensor:
        """The embedding of the last map: flattened."""
        return x.flatten(1)

    def _logits_of_cells(self, x: Tensor) -> Tensor:
        """The logits of each cell of the last map, column by column."""
        parts = F.adaptive_avg_pool2d(x, self.cells).permute(0, 3, 2, 1)
        logits = self.classifier(parts.flatten(0, 2))
        return logits.unflatten(-2, (len(x), self.cells**2))

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
        x = self.last_map(x)
        if self.cells > 1 and self.training and not features:
            return self._logits_of_cells(x)
        embedding = self.summarise(x) if self.cells == 1 else x.mean((2, 3))
        logits = self.classifier(embedding)
        if not features:
            return logits
        if self.copies != 1:
            raise ValueError("features are those of one network")
        return Features(maps, embedding, logits)


@torch.no_grad()
def keeps_positions(net: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether images of `shape` (C, H, W) are large enough for `net`: every pooling has what to pool, and
    every instance or group norm sees more than one position (of one alone, an instance norm leaves
    nothing)."""
    seen: list[int] = []
    norms = [module for module in net.modules() if isinstance(module, nn.GroupNorm)]
    hooks = [norm.register_forward_hook(lambda _, x, __: seen.append(x[0][0, 0].numel())) for norm in norms]
    try:
        net.eval()(torch.zeros(2, *shape, device=next(net.parameters()).device))
    except RuntimeError:  # torch's word for a pooling without a window
        return False
    finally:
        for hook in hooks:
            hook.remove()
    return min(seen, default=2) > 1


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
