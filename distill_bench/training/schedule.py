"""The optimiser of the literature's evaluation: SGD with momentum whose rate drops once, past the middle."""

from __future__ import annotations

from torch import Tensor

from distill_bench.groups import ProtocolConfig

__all__ = ["drop_epoch", "learning_rates", "sgd_step"]


def drop_epoch(epochs: int) -> int:
    """The first epoch at the lower rate, E // 2 + 2: the published loop rebuilds its optimiser after E // 2 + 1."""
    return epochs // 2 + 2


def learning_rates(protocol: ProtocolConfig, epochs: int) -> list[float]:
    """The rate of each of the E + 1 epochs 0 .. E; for E = 1000, 502 at `lr` and 499 at `lr * lr_drop`."""
    drop = drop_epoch(epochs)
    return [protocol.lr if epoch < drop else protocol.lr * protocol.lr_drop for epoch in range(epochs + 1)]


def sgd_step(weights: Tensor, gradient: Tensor, momentum: Tensor, rate: float, protocol: ProtocolConfig) -> None:
    r"""One step in place, as `torch.optim.SGD` has it, on all the weights in one buffer; `gradient` is used up.

    .. math:: m \leftarrow \mu m + (g + \lambda w), \quad w \leftarrow w - \eta m

    With m = 0 this is the step of a newly built optimiser.
    """
    gradient.add_(weights, alpha=protocol.weight_decay)
    momentum.mul_(protocol.momentum).add_(gradient)
    weights.sub_(momentum, alpha=rate)
    gradient.zero_()
