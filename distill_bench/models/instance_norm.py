"""Instance norm whose second derivatives cost few passes over the maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["InstanceNorm", "differentiate_twice"]


class InstanceNorm(nn.GroupNorm):
    """Group norm with one channel a group, and a weight and a bias a channel, as the field's code has it.

    For gradients of gradients the library goes over the maps some thirty times; `twice` takes the closed form
    (`_Twice`), equal up to rounding, in ten. For anything else the library's own kernels are as fast.
    """

    twice = False

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.twice and x.requires_grad | self.weight.requires_grad:
            y: Tensor = _Twice.apply(x, self.weight, self.bias, self.eps)[0]
            return y
        return super().forward(x)


def differentiate_twice(net: nn.Module) -> None:
    """Prepare a network for gradients of gradients: they take less time, and are equal up to rounding."""
    for module in net.modules():
        if isinstance(module, InstanceNorm):
            module.twice = True


class _Twice(torch.autograd.Function):
    r"""y = w z + b, where z = r (x - m) has mean 0 and variance about 1 over the N positions of a map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        batch, channels = x.shape[:2]
        x = x.contiguous()
        size = x[0, 0].numel()
        y, mean, rate = torch.ops.aten.native_group_norm(
            x, weight, bias, batch, channels, size, channels, eps
        )
        ctx.save_for_backward(x, weight, mean, rate)
        ctx.set_materialize_grads(False)
        return y, mean, rate

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, mean, rate = ctx.saved_tensors
        of_x, of_weight, of_bias = _Back.apply(gradients[0], x, weight, mean.detach(), rate.detach())
        return of_x, of_weight, of_bias, None


class _Back(torch.autograd.Function):
    r"""The gradients of `_Twice` for g, that of y, and what follows from gradients v, v_w, v_b of these.

    With P(u) = u - mean(u) - z mean(u z) over the positions of a map, and sums over images and positions,

    .. math:: \bar x = r w P(g), \quad \bar w = \sum g z, \quad \bar b = \sum g

    .. math:: \bar g = r w P(v) + v_w z + v_b, \quad \bar{\bar w} = \sum r g P(v)

    .. math:: \bar{\bar x} = r v_w P(g) - r^2 w \{ z [mean(v g) - mean(v) mean(g) - c d] + d P(v) + c P(g) \}

    where c = mean(v z) and d = mean(g z).
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rate: Tensor
    ) -> tuple[Tensor, ...]:
        batch, channels = x.shape[:2]
        g = g.contiguous()
        ctx.save_for_backward(g, x, weight, mean, rate)
        ctx.set_materialize_grads(False)
        gradients: tuple[Tensor, ...] = torch.ops.aten.native_group_norm_backward(
            g, x, mean, rate, weight, batch, channels, x[0, 0].numel(), channels, [True, True, True]
        )
        return gradients

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        g, x, weight, mean, r = ctx.saved_tensors
        v, v_w, v_b = gradients
        g_N, x_N = g.flatten(2), x.flatten(2)
        count, zero = g_N.shape[2], torch.zeros_like(weight)
        v_N = torch.zeros_like(g_N) if v is None else v.flatten(2)
        v_w, v_b = (zero if part is None else part for part in (v_w, v_b))
        m_v, m_g = v_N.mean(2), g_N.mean(2)
        c = r * (_dot(v_N, x_N) / count - mean * m_v)
        d = r * (_dot(g_N, x_N) / count - mean * m_g)
        both = _dot(v_N, g_N) / count - m_v * m_g - c * d  # mean(v g) - mean(v) mean(g) - c d
        scaled = r * weight
        of_g = _affine(v_N, scaled, x_N, r * (v_w - scaled * c), v_b - scaled * m_v, mean)
        of_weight = (r * both).sum(0) * count
        square, turned = -r * scaled, r * v_w
        of_x = _affine(v_N, square * d, x_N, r * (square * (both - 2 * c * d) - turned * d), 0.0, mean)
        rest = turned + square * c
        of_x.addcmul_(g_N, rest[..., None])
        of_x += (-square * d * m_v - rest * m_g)[..., None]
        return of_g.view_as(g), of_x.view_as(x), of_weight, None, None


def _dot(a_BCN: Tensor, b_BCN: Tensor) -> Tensor:
    """Sums of products over positions, (B, C)."""
    return (a_BCN * b_BCN).sum(2)


def _affine(
    v_BCN: Tensor, of_v: Tensor, x_BCN: Tensor, of_x: Tensor, constant: Tensor | float, mean: Tensor
) -> Tensor:
    """of_v v + of_x (x - mean) + constant, whose factors are (B, C)."""
    start = torch.addcmul((constant - of_x * mean)[..., None], v_BCN, of_v[..., None])
    return start.addcmul_(x_BCN, of_x[..., None])
