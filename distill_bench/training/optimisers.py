"""The protocols' optimisers, each on all weights of a module as one flat parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.groups import ProtocolConfig

__all__ = ["AdamW", "Sgd"]

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of AdamW


class Sgd:
    """`torch.optim.SGD` with the protocol's momentum, and its weight decay on everything.

    `state` holds the tensors that a step changes, in place; with a momentum of 0 the step is that of a newly
    built optimiser.
    """

    def __init__(self, net: nn.Module, protocol: ProtocolConfig) -> None:
        flat = models.flat_parameter(net)
        self.state = {"weights": flat.data, "momentum": torch.zeros_like(flat.data)}
        decay = protocol.weight_decay
        self._sgd = torch.optim.SGD([flat], momentum=protocol.momentum, weight_decay=decay, fused=True)
        self._sgd.state[flat]["momentum_buffer"] = self.state["momentum"]

    def step(self, rate: float, number: int) -> None:  # noqa: ARG002 (AdamW needs the step's number)
        """Use up the gradient at the rate `rate`."""
        self._sgd.param_groups[0]["lr"] = rate
        self._sgd.step()
        self._sgd.zero_grad(set_to_none=False)


class AdamW:
    r"""AdamW with the protocol's weight decay on matrices and kernels alone.

    .. math:: w \leftarrow (1 - \eta \lambda_w) w, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    `torch.optim.AdamW` differs from it by rounding (1e-7 of the weights in a step). Where the true gradient
    is zero, at biases before instance norm, AdamW turns rounding into steps of the size of the rate, so that
    logits were 1e-4 apart after 20 steps: the published numbers are of this form.
    """

    def __init__(self, net: nn.Module, protocol: ProtocolConfig) -> None:
        flat = models.flat_parameter(net)
        assert flat.grad is not None
        self._gradient = flat.grad
        self._decay = protocol.weight_decay * matrices(net, flat.data)
        first, second = torch.zeros_like(flat.data), torch.zeros_like(flat.data)
        self.state = {"weights": flat.data, "momentum": first, "second": second}

    @torch.no_grad()
    def step(self, rate: float, number: int) -> None:
        """Use up the gradient at the rate `rate`; `number` is t, from 1."""
        weights, first, second = self.state["weights"], self.state["momentum"], self.state["second"]
        weights.addcmul_(weights, self._decay, value=-rate)
        first.lerp_(self._gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(self._gradient, self._gradient, value=1 - BETAS[1])
        root = (second / (1 - BETAS[1] ** number)).sqrt_().add_(EPSILON)
        weights.addcdiv_(first, root, value=-rate / (1 - BETAS[0] ** number))
        self._gradient.zero_()


def matrices(net: nn.Module, flat: Tensor) -> Tensor:
    """1 where the buffer `flat` of the network's parameters holds a matrix or a kernel, 0 at biases and
    norms."""
    marks = torch.zeros_like(flat)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            marks[parameter.storage_offset() : parameter.storage_offset() + parameter.numel()] = 1
    return marks
