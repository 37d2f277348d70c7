"""Learning rates of the evaluation protocols, and their optimisers on all weights in one buffer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distill_bench.groups import ProtocolConfig, Schedule

__all__ = ["adamw_step", "drop_epoch", "learning_rates", "matrices", "sgd_step"]

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of AdamW


def drop_epoch(epochs: int) -> int:
    """The first epoch at the lower rate, E // 2 + 2: the published loop rebuilds its optimiser after E // 2 +
    1."""
    return epochs // 2 + 2


def learning_rates(protocol: ProtocolConfig, epochs: int) -> list[float]:
    r"""The rate of each epoch.

    One drop: E + 1 epochs 0 .. E; for E = 1000, 502 at `lr` and 499 at `lr * lr_drop`. Two drops: E epochs,
    times `lr_drop` from 2E // 3 and again from 5E // 6. Half a cosine: :math:`(1 + \cos(\pi e / 2E)) / 2`,
    which ends near 1/2, as the released code of RDED has it.
    """
    if protocol.schedule is Schedule.two_drops:
        drops = (2 * epochs // 3, 5 * epochs // 6)
        return [
            protocol.lr * protocol.lr_drop ** sum(epoch >= drop for drop in drops) for epoch in range(epochs)
        ]
    if protocol.schedule is Schedule.half_cosine:
        return [protocol.lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs / 2)) for epoch in range(epochs)]
    drop = drop_epoch(epochs)
    return [protocol.lr if epoch < drop else protocol.lr * protocol.lr_drop for epoch in range(epochs + 1)]


def sgd_step(
    weights: Tensor, gradient: Tensor, momentum: Tensor, rate: float, protocol: ProtocolConfig
) -> None:
    r"""One step in place, as `torch.optim.SGD` has it, on all the weights in one buffer; `gradient` is used
    up.

    .. math:: m \leftarrow \mu m + (g + \lambda w), \quad w \leftarrow w - \eta m

    With m = 0 this is the step of a newly built optimiser.
    """
    gradient.add_(weights, alpha=protocol.weight_decay)
    momentum.mul_(protocol.momentum).add_(gradient)
    weights.sub_(momentum, alpha=rate)
    gradient.zero_()


def adamw_step(
    weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor, decay: Tensor, rate: float, step: int
) -> None:
    r"""One step in place, as `torch.optim.AdamW` has it, on all the weights in one buffer; `gradient` is used
    up.

    .. math:: w \leftarrow (1 - \eta \lambda_w) w, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    `decay` holds each weight's own decay; `step` is t, from 1.
    """
    weights.addcmul_(weights, decay, value=-rate)
    first.lerp_(gradient, 1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    root = (second / (1 - BETAS[1] ** step)).sqrt_().add_(EPSILON)
    weights.addcdiv_(first, root, value=-rate / (1 - BETAS[0] ** step))
    gradient.zero_()


def matrices(net: nn.Module, flat: Tensor) -> Tensor:
    """1 where the buffer `flat` of the network's parameters holds a matrix or a kernel, 0 at biases and
    norms."""
    found = torch.zeros_like(flat)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            found[parameter.storage_offset() : parameter.storage_offset() + parameter.numel()] = 1
    return found
