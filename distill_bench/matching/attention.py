"""Attention of feature maps, over positions (DataDAM, ICCV 2023, Sec. 3) and over channels (ATOM, CVPR 2024
workshop).

Both raise the features' absolute values to a power and sum: over channels, which leaves where a sample's
features are strong, or over positions, which leaves in which channels they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from distill_bench.models import Features

__all__ = ["AttentionMatching", "channel_attention", "joint_attention", "spatial_attention"]


def spatial_attention(maps_BCHW: torch.Tensor, power: float) -> torch.Tensor:
    """Where each sample's features are strong, as a unit vector over positions.

    .. math:: z_{b,hw} = \\sum_c |f_{b,c,hw}|^p, \\qquad \\hat z_b = z_b / \\max(\\|z_b\\|_2, 10^{-12})

    ``maps_BCHW`` are post-ReLU feature maps before pooling, ``power`` is p >= 1; returns (B, H W),
    non-negative with unit 2-norm (zero for an all-zero map). Gradients flow.
    """
    return _over_positions(_raised(maps_BCHW, power))


def channel_attention(maps_BCHW: torch.Tensor, power: float) -> torch.Tensor:
    """In which channels each sample's features are strong, as a unit vector over channels.

    .. math:: z_{b,c} = \\sum_{hw} |f_{b,c,hw}|^p, \\qquad \\hat z_b = z_b / \\max(\\|z_b\\|_2, 10^{-12})

    As `spatial_attention`, with the sum over positions: (B, C).
    """
    return _over_channels(_raised(maps_BCHW, power))


def joint_attention(spatial: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
    """Both attentions of each sample, (B, H W) and (B, C), as one unit vector (B, H W + C)."""
    return torch.nn.functional.normalize(torch.cat([spatial, channel], dim=1), dim=1, eps=1e-12)


@dataclass(frozen=True, kw_only=True)
class AttentionMatching:
    """What DataDAM and ATOM match, and with which weights; with both attentions off it is DM's loss.

    .. math:: L = s \\, (w_s L_s + w_c L_c + \\lambda L_{MMD})

    where each term is a squared distance of class means: of `spatial_attention`, of `channel_attention` (both
    summed over layers), and of the embedding. An attention of weight 0 is not computed.
    """

    spatial: float = 0.0  # w_s
    channel: float = 0.0  # w_c
    spatial_power: float = 4.0  # p_s, >= 1
    channel_power: float = 4.0  # p_c, >= 1
    joint: bool = False  # both attentions as one unit vector, with weight w_s = w_c: (L_s + L_c) / 2
    last: bool = False  # also the last block, whose output the embedding is
    task_balance: float  # lambda
    loss_scale: float  # s

    @property
    def names(self) -> list[str]:
        """The attention terms that have a weight, in the order of `statistics`."""
        weights = {"spatial": self.spatial, "channel": self.channel}
        active = [name for name, weight in weights.items() if weight]
        return ["joint"] if self.joint and active else active

    def statistics(self, features: Features) -> list[tuple[float, torch.Tensor]]:
        """Weights and per-sample vectors: spatial attention of each layer (B, H_l W_l), then channel
        attention of each (B, C_l), or both as one (B, H_l W_l + C_l), and last the embedding (B, D)."""
        layers = [self._attention(maps) for maps in (features.maps if self.last else features.maps[:-1])]
        weight = {"spatial": self.spatial, "channel": self.channel, "joint": self.spatial}
        attention = [(self.loss_scale * weight[name], layer[name]) for name in self.names for layer in layers]
        return [*attention, (self.loss_scale * self.task_balance, features.embedding)]

    def curves(self, distances: Sequence[torch.Tensor]) -> dict[str, torch.Tensor | float]:
        """L_s, L_c and L_MMD, without weights, from the squared distances of the statistics in their
        order."""
        *attention, embedding = distances
        layers = len(attention) // max(1, len(self.names))
        sums = {name: sum(attention[i * layers : (i + 1) * layers]) for i, name in enumerate(self.names)}
        return {**sums, "mmd": embedding}

    def _attention(self, maps_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """The attentions of one layer that are in `names`; |f|^p is computed once where both have one p."""
        attentions = {}
        if self.spatial:
            raised = _raised(maps_BCHW, self.spatial_power)
            attentions["spatial"] = _over_positions(raised)
        if self.channel:
            if not (self.spatial and self.spatial_power == self.channel_power):
                raised = _raised(maps_BCHW, self.channel_power)
            attentions["channel"] = _over_channels(raised)
        return {"joint": joint_attention(**attentions)} if self.names == ["joint"] else attentions


def _raised(maps_BCHW: torch.Tensor, power: float) -> torch.Tensor:
    """|f|^p, where each sample is first divided by its largest absolute value.

    The normalisation that follows makes this exactly neutral (the sums are homogeneous of degree p), and it
    keeps
    |f|^p finite for any p and precision.
    """
    largest = maps_BCHW.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
    scaled = maps_BCHW.abs() / largest
    return scaled.pow(power) if power != 4 else scaled.square().square()


def _over_positions(raised_BCHW: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(raised_BCHW.sum(dim=1).flatten(1), dim=1, eps=1e-12)


def _over_channels(raised_BCHW: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(raised_BCHW.sum(dim=(2, 3)), dim=1, eps=1e-12)
