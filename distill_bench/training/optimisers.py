"""The recipes' optimisers, each on all weights of a module as one flat parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.groups import Optimiser, Recipe

__all__ = ["AdamW", "Sgd"]

BETAS = (0.9, 0.999)  # of AdamW


class Sgd:
    """`torch.optim.SGD` with the recipe's momentum (or Nesterov's), and its weight decay on everything.

    `state` holds the tensors that a step changes, in place; with a momentum of 0 the step is that of a newly
    built optimiser.
    """

    def __init__(self, net: nn.Module, recipe: Recipe) -> None:
        flat = models.flat_parameter(net)
        self.state = {"weights": flat.data, "momentum": torch.zeros_like(flat.data)}
        self._sgd = torch.optim.SGD(
            [flat],
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.optimiser is Optimiser.nesterov,
            fused=True,
        )
        self._sgd.state[flat]["momentum_buffer"] = self.state["momentum"]

    def step(self, rate: float) -> None:
        """Use up the gradient at the rate `rate`."""
        self._sgd.param_groups[0]["lr"] = rate
        self._sgd.step()
        self._sgd.zero_grad(set_to_none=False)


class AdamW:
    """`torch.optim.AdamW` with the recipe's weight decay on matrices and kernels alone.

    The decay of one flat parameter differs from weight to weight, so it is taken off here, first, as AdamW
    does; everything else is the library's. `state` holds the tensors that a step changes, in place.
    """

    def __init__(self, net: nn.Module, recipe: Recipe) -> None:
        flat = models.flat_parameter(net)
        weights = flat.data
        self._decay = recipe.weight_decay * matrices(net, weights)
        self._adamw = torch.optim.AdamW([flat], betas=BETAS, weight_decay=0.0, fused=True)
        first, second = torch.zeros_like(weights), torch.zeros_like(weights)
        steps = torch.zeros((), device=weights.device)
        self._adamw.state[flat] = {"step": steps, "exp_avg": first, "exp_avg_sq": second}
        self.state = {"weights": weights, "momentum": first, "second": second, "steps": steps}

    def step(self, rate: float) -> None:
        """Use up the gradient at the rate `rate`."""
        self.state["weights"].addcmul_(self.state["weights"], self._decay, value=-rate)
        self._adamw.param_groups[0]["lr"] = rate
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=False)


def matrices(net: nn.Module, flat: Tensor) -> Tensor:
    """1 where the buffer `flat` of the network's parameters holds a matrix or a kernel, 0 at biases and
    norms."""
    marks = torch.zeros_like(flat)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            marks[parameter.storage_offset() : parameter.storage_offset() + parameter.numel()] = 1
    return marks
