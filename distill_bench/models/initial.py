"""Fresh parameters in place, from an explicit generator, in three kernels whatever the size of the
network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from distill_bench.models.layers import LayerNorm

__all__ = ["Randomiser", "flatten_parameters", "reinitialise"]

ALIGNMENT = 64  # elements: every parameter starts at a multiple, as an allocation of its own would
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, LayerNorm)
LINEAR = (nn.Linear, nn.modules.conv._ConvNd)


class Randomiser:
    """Re-draws all parameters of one network in place, like PyTorch's default initialisation.

    Convolutions and linear layers: weight and bias uniform in (-1/sqrt(fan_in), 1/sqrt(fan_in)), which is
    what kaiming_uniform with a = sqrt(5) amounts to; norms: weight 1, bias 0, running statistics reset.
    Parameters of other kinds (timm's position embeddings, class tokens, layer scales) are uniform with the
    mean and the standard deviation that they have when the randomiser is made: our choice.

    The parameters become views of one buffer `flat`, of their common type and device.
    """

    def __init__(self, net: nn.Module) -> None:
        low, span = {}, {}
        for parameter, centre, bound in _bounds(net):
            low[parameter], span[parameter] = centre - bound, 2 * bound
        self.flat = flatten_parameters(net)
        self.low, self.span = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        for parameter in net.parameters():
            at = slice(parameter.storage_offset(), parameter.storage_offset() + parameter.numel())
            self.low[at], self.span[at] = low[parameter], span[parameter]
        self.statistics = [module for module in net.modules() if isinstance(module, _NormBase)]

    @torch.no_grad()
    def __call__(self, generator: torch.Generator) -> None:
        """Draw from `generator`, which must be on the network's device."""
        torch.rand(self.flat.shape, generator=generator, out=self.flat)
        torch.addcmul(self.low, self.flat, self.span, out=self.flat)
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


def _bounds(net: nn.Module) -> Iterator[tuple[nn.Parameter, float, float]]:
    """Each parameter with the centre and the half-width of its uniform distribution."""
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, NORMS):
                yield parameter, float(name == "weight"), 0.0
            elif isinstance(module, LINEAR):
                fan_in = module.weight[0].numel()
                yield parameter, 0.0, 1 / math.sqrt(fan_in)
            else:
                spread = float(parameter.detach().std(correction=0))
                yield parameter, float(parameter.detach().mean()), math.sqrt(3) * spread
