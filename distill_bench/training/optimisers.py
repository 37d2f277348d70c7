"""The recipes' optimisers, each on all weights of a module as one flat parameter; and how gradients are
clipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.groups import Optimiser, Recipe

__all__ = ["AdamW", "Sgd", "clip"]

BETAS = (0.9, 0.999)  # of AdamW


class Sgd:
    """`torch.optim.SGD` with the recipe's momentum (or Nesterov's), and its weight decay on everything.

    `state` holds the tensors that a step changes, in place, and `gradient` is what it uses up; with a
    momentum of 0 the step is that of a newly built optimiser.
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
        assert flat.grad is not None
        self.gradient = flat.grad

    def step(self, rate: float) -> None:
        """Use up the gradient at the rate `rate`."""
        self._sgd.param_groups[0]["lr"] = rate
        self._sgd.step()
        self._sgd.zero_grad(set_to_none=False)


class AdamW:
    """`torch.optim.AdamW` with the recipe's weight decay on matrices and kernels alone.

    The decay of one flat parameter differs from weight to weight, so it is taken off here, first, as AdamW
    does; everything else is the library's. `state` holds the tensors that a step changes, in place, and
    `gradient` is what it uses up.
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
        assert flat.grad is not None
        self.gradient = flat.grad

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


def clip(net: nn.Module, objective: nn.Module, largest: float) -> None:
    """Scale the gradient of each of M networks to a norm of at most `largest`, as
    `torch.nn.utils.clip_grad_norm_` does, together with that of the objective's own modules.

    These are owned by no one network: where there are several, they are scaled as the network of the largest
    gradient is.
    """
    copies = net.copies if isinstance(net, models.Network) else 1
    parts = [p.grad.view(copies, -1) for p in net.parameters() if p.grad is not None]
    own = [p.grad for p in objective.parameters() if p.grad is not None]
    squares_M = torch.stack([part.square().sum(1) for part in parts]).sum(0)
    extra = sum((gradient.square().sum() for gradient in own), start=squares_M.new_zeros(()))
    factor_M = (largest / ((squares_M + extra).sqrt() + 1e-6)).clamp_max(1)
    for part in parts:
        part.mul_(factor_M[:, None])
    for gradient in own:
        gradient.mul_(factor_M.min())
