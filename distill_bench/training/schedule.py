"""Learning rates of the evaluation protocols."""

from __future__ import annotations

import math

from distill_bench.groups import ProtocolConfig, Schedule

__all__ = ["drop_epoch", "learning_rates"]


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
