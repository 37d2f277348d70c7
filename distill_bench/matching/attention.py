"""Spatial attention of feature maps (DataDAM, ICCV 2023, Sec. 3; the exponent as in its Eq. for A)."""

from __future__ import annotations

import torch

__all__ = ["spatial_attention"]


def spatial_attention(maps_BCHW: torch.Tensor, power: float) -> torch.Tensor:
    """Where each sample's features are strong, as a unit vector over positions.

    .. math:: z_{b,hw} = \\sum_c |f_{b,c,hw}|^p, \\qquad \\hat z_b = z_b / \\max(\\|z_b\\|_2, 10^{-12})

    ``maps_BCHW`` are post-ReLU feature maps before pooling, ``power`` is p >= 1; returns (B, H W), non-negative
    with unit 2-norm (zero for an all-zero map). Gradients flow. Each sample is first divided by its largest
    absolute value, which the normalisation makes exactly neutral (A is homogeneous of degree p) and which keeps
    |f|^p finite for any p and precision.
    """
    largest = maps_BCHW.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
    scaled = maps_BCHW.abs() / largest
    raised = scaled.pow(power) if power != 4 else scaled.square().square()
    return torch.nn.functional.normalize(raised.sum(dim=1).flatten(1), dim=1, eps=1e-12)
