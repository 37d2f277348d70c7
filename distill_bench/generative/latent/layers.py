"""Layers that the generators share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distill_bench.errors import require

__all__ = ["ConditionalNorm", "ladder", "normed"]


def ladder(resolution: int) -> tuple[int, int]:
    """(side of the smallest map, doublings from it to `resolution`): 8: (4, 1), 28: (7, 2), 32: (4, 3), 64:
    (4, 4).

    UserError where halving does not reach a map of at most 7 x 7.
    """
    side, doublings = resolution, 0
    while side > 7 and side % 2 == 0:
        side, doublings = side // 2, doublings + 1
    require(side <= 7 and doublings > 0, "dataset.resolution", resolution, "2 to 7 times a power of two")
    return side, doublings


def normed(layer: nn.Module) -> nn.Module:
    """The layer with its weight divided by its largest singular value (Miyato et al., ICLR 2018)."""
    return spectral_norm(layer)


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition (B, D): gain 1 + G c, bias H c.

    For a one-hot condition these are a gain and a bias for each class.
    """

    def __init__(self, channels: int, condition: int, spectral: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.affine: nn.Module = nn.Linear(condition, 2 * channels, bias=False)
        nn.init.zeros_(self.affine.weight)
        if spectral:
            nn.init.orthogonal_(self.affine.weight)
            self.affine = normed(self.affine)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = self.affine(condition)[:, :, None, None].chunk(2, dim=1)
        return (1 + gain) * self.norm(x) + bias
