"""Fresh parameters in place, from an explicit generator, in a few kernels whatever the network's size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from distill_bench.groups import Initial
from distill_bench.models.layers import LayerNorm

__all__ = ["Initial", "Randomiser", "flatten_parameters", "reinitialise"]

ALIGNMENT = 64  # elements: every parameter starts at a multiple, as an allocation of its own would
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, LayerNorm)
LINEAR = (nn.Linear, nn.modules.conv._ConvNd)


class Law(NamedTuple):
    """A parameter is uniform within `bound` of `centre`, plus a normal of standard deviation `deviation`."""

    centre: float
    bound: float = 0.0
    deviation: float = 0.0


class Randomiser:
    """Re-draws all parameters of one network in place, by the law that its attribute `initial` names.

    Norms: weight 1, bias 0, running statistics reset. Parameters of other kinds (timm's position embeddings,
    class tokens, layer scales) are uniform with the mean and the standard deviation that they have when the
    randomiser is made: our choice.

    The parameters become views of one buffer `flat`, of their common type and device.
    """

    def __init__(self, net: nn.Module) -> None:
        laws = dict(_laws(net))
        self.flat = flatten_parameters(net)
        self.low, self.span, deviation = (torch.zeros_like(self.flat) for _ in range(3))
        for parameter in net.parameters():
            at = slice(parameter.storage_offset(), parameter.storage_offset() + parameter.numel())
            law = laws[parameter]
            self.low[at], self.span[at] = law.centre - law.bound, 2 * law.bound
            deviation[at] = law.deviation
        self.deviation = deviation if any(law.deviation for law in laws.values()) else None
        self.statistics = [module for module in net.modules() if isinstance(module, _NormBase)]

    @torch.no_grad()
    def __call__(self, generator: torch.Generator) -> None:
        """Draw from `generator`, which must be on the network's device."""
        torch.rand(self.flat.shape, generator=generator, out=self.flat)
        torch.addcmul(self.low, self.flat, self.span, out=self.flat)
        if self.deviation is not None:
            normal = torch.randn(self.flat.shape, generator=generator, device=self.flat.device)
            self.flat.addcmul_(normal.to(self.flat.dtype), self.deviation)
        for module in self.statistics:
            module.reset_running_stats()

    def holds(self, net: nn.Module) -> bool:
        """Whether the network's parameters are still views of the buffer (moving or casting it ends that)."""
        pointer = self.flat.untyped_storage().data_ptr()
        return all(p.untyped_storage().data_ptr() == pointer for p in net.parameters())


_RANDOMISERS: WeakKeyDictionary[nn.Module, Randomiser] = WeakKeyDictionary()


def reinitialise(net: nn.Module, generator: torch.Generator) -> None:
    """Re-draw all parameters of `net` in place (see `Randomiser`): same generator state, same bits."""
    randomiser = _RANDOMISERS.get(net)
    if randomiser is None or not randomiser.holds(net):
        randomiser = _RANDOMISERS[net] = Randomiser(net)
    randomiser(generator)


@torch.no_grad()
def flatten_parameters(net: nn.Module) -> Tensor:
    """Move the parameters of `net`, values kept, into one buffer that they become views of; returns the
    buffer.

    ValueError if they differ in type or device.
    """
    parameters = list(net.parameters())
    if len({(p.dtype, p.device) for p in parameters}) != 1:
        raise ValueError("parameters of one type on one device are needed")
    sizes = [ALIGNMENT * math.ceil(p.numel() / ALIGNMENT) for p in parameters]
    flat = parameters[0].new_zeros(sum(sizes))
    for parameter, room in zip(parameters, flat.split(sizes), strict=True):
        view = room[: parameter.numel()].view(parameter.shape)
        view.copy_(parameter)
        parameter.data = view
    return flat


def _laws(net: nn.Module) -> Iterator[tuple[nn.Parameter, Law]]:
    """Each parameter with its law."""
    initial = getattr(net, "initial", Initial.uniform)
    copies = getattr(net, "copies", 1)
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, NORMS):
                yield parameter, Law(float(name == "weight"))
            elif isinstance(module, LINEAR):
                yield parameter, _linear(module, name, initial, copies)
            else:
                values = parameter.detach()
                yield parameter, Law(float(values.mean()), math.sqrt(3) * float(values.std(correction=0)))


def _linear(module: nn.Module, name: str, initial: Initial, copies: int) -> Law:
    """The law of the weight or the bias of a convolution or a linear layer of `copies` networks."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if initial is not Initial.uniform and weight.ndim > 2 and name == "weight":
        fan_out = weight[:, 0].numel() // copies
        return Law(0.0, deviation=math.sqrt(2 / fan_out))
    if initial is Initial.fan_out_no_bias and name == "bias":
        return Law(0.0)
    return Law(0.0, 1 / math.sqrt(weight[0].numel()))
