"""A network's parameters drawn anew in place, from an explicit generator, in a handful of kernels."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["reinitialise"]


@torch.no_grad()
def reinitialise(net: nn.Module, generator: torch.Generator) -> None:
    """Give `net` fresh parameters with the distribution of PyTorch's default initialisation.

    .. math:: W, b \\sim U(-1/\\sqrt{n_{in}}, 1/\\sqrt{n_{in}})

    for convolutions and linear layers (`kaiming_uniform_` with a = sqrt 5), 1 and 0 for the affine parameters of
    norms, whose running statistics are reset. One uniform draw serves all layers. Deterministic in the
    generator, whose device must be the parameters'. A module with parameters of another kind is a TypeError.
    """
    uniform: list[tuple[torch.Tensor, float]] = []
    for module in net.modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(module.weight[0].numel())
            uniform += [(parameter, bound) for parameter in own.values()]
        elif isinstance(module, (nn.GroupNorm, nn.BatchNorm2d, nn.LayerNorm)):
            for name, parameter in own.items():
                parameter.fill_(float(name == "weight"))
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        elif own:
            raise TypeError(f"cannot initialise the parameters {sorted(own)} of {type(module).__name__}")
    sizes = [parameter.numel() for parameter, _ in uniform]
    device = uniform[0][0].device
    values = torch.rand(sum(sizes), generator=generator, device=device).mul_(2).sub_(1).split(sizes)
    for value, (parameter, bound) in zip(values, uniform, strict=True):
        parameter.copy_(value.view_as(parameter)).mul_(bound)
