"""ResNet-18 at CIFAR size (He et al., CVPR 2016), as the cross-architecture tables of DC, DSA and DM use it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.groups import Norm, Pooling
from distill_bench.models.layers import Classifier, Convolution, normalisation
from distill_bench.models.network import Network, sequence

__all__ = ["ResNet18"]

STAGES = (64, 128, 256, 512)


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
        return F.relu(y + self.shortcut(x), inplace=True)


class ResNet18(Network):
    """Convolution 3x3, then four stages of two blocks (64, 128, 256, 512 channels), global average pooling, linear.

    11,173,962 parameters at 3 channels and K = 10. `Features.maps` are the stages' outputs; the embedding has length
    512. Departures: global average pooling at every resolution (the published code pools 4x4, the same at 32 pixels),
    and a stride that would leave a single position is 1 (only below 16 pixels).
    """

    def __init__(
        self, *, channels: int, num_classes: int, resolution: int, norm: Norm = Norm.instance, copies: int = 1
    ) -> None:
        recipe = {"channels": channels, "num_classes": num_classes, "resolution": resolution, "norm": norm}
        super().__init__(recipe, copies, resolution)
        self.largest_map = STAGES[0] * resolution * resolution
        stem = Convolution(channels, STAGES[0], 3, copies, bias=False)
        layers: list[nn.Module] = [stem, normalisation(norm, STAGES[0], resolution, copies), nn.ReLU(inplace=True)]
        incoming, size = STAGES[0], resolution
        for number, width in enumerate(STAGES):
            stride = 2 if number and size > 2 else 1
            size = -(-size // stride)
            layers += [BasicBlock(incoming, width, stride, size, norm, copies)]
            layers += [BasicBlock(width, width, 1, size, norm, copies)]
            self.blocks.append(sequence(layers))
            self.pools.append(Pooling.none)
            incoming, layers = width, []
        self.classifier = Classifier(incoming, num_classes, copies)

    def summarise(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
