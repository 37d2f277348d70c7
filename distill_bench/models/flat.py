"""All parameters of a network as one, so that an optimiser's step is a few kernels whatever the network."""

from __future__ import annotations

import torch
from torch import nn

from distill_bench.models.initial import flatten_parameters

__all__ = ["flat_parameter"]


def flat_parameter(net: nn.Module) -> nn.Parameter:
    """One parameter of which those of `net` become views, values kept; its gradient, zero, likewise.

    An optimiser of this one parameter trains the network. `backward` adds to the gradient in place: set it to
    zero between steps, never to None. ValueError if the parameters differ in type or device.
    """
    flat = nn.Parameter(flatten_parameters(net))
    gradient = torch.zeros_like(flat)
    flat.grad = gradient
    for parameter in net.parameters():
        at = slice(parameter.storage_offset(), parameter.storage_offset() + parameter.numel())
        parameter.grad = gradient[at].view(parameter.shape)
    return flat
