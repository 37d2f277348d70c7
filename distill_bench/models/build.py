"""From the `student` group to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import nn

from distill_bench.architectures import architecture
from distill_bench.errors import require
from distill_bench.groups import StudentConfig
from distill_bench.models.alexnet import AlexNet
from distill_bench.models.convnet import ConvNet, convnet6
from distill_bench.models.foreign import TimmNetwork
from distill_bench.models.mlp import Mlp
from distill_bench.models.network import Network
from distill_bench.models.resnet import ResNet18, ResNetAP10
from distill_bench.models.resnet_cifar import CifarResNet
from distill_bench.models.vgg import VGG11
from distill_bench.models.wide_resnet import WideResNet

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["FAMILIES", "build", "for_data"]

FAMILIES: Mapping[str, Callable[..., Network]] = {
    "convnet": ConvNet,
    "convnet6": convnet6,
    "alexnet": AlexNet,
    "vgg11": VGG11,
    "resnet18": ResNet18,
    "resnetap10": ResNetAP10,
    "mlp": Mlp,
    "resnet_cifar": CifarResNet,
    "wide_resnet": WideResNet,
}
"""What makes a network of each family of `architectures` from the images' shape, from its options and from
the fields that it uses."""


def build(
    config: StudentConfig, *, channels: int, num_classes: int, resolution: int, cells: int = 1
) -> nn.Module:
    """The network that `config` names, for square images of `resolution` pixels a side, on the CPU.

    `forward(x)` gives logits (B, K), `forward(x, features=True)` gives `Features`; with `cells` above 1 it
    predicts each part of an image in training (`Network.predict_cells`). A name that is not in
    `architectures` is one of timm. Its parameters are always the same: `reinitialise` draws others. UserError
    for an unknown name, a network too deep for the images, or one that cannot predict parts of them.
    """
    shape = {"channels": channels, "num_classes": num_classes, "resolution": resolution}
    facts = architecture(config.name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the layers' constructors draw from it
        if not facts.ours:
            allowed = f"a network that is not timm's, for protocol.canvas={cells}"
            require(cells == 1, "student", config.name, allowed)
            return TimmNetwork(config.name, **shape)
        fields = {field: getattr(config, field) for field in facts.fields}
        net = _maker(facts.family)(**shape, **facts.options, **fields)
        if cells > 1:
            net.predict_cells(cells)
        return net


def _maker(family: str) -> Callable[..., Network]:
    """What makes a network of the family: of `FAMILIES`, or the class that the file of this name declares."""
    if family in FAMILIES:
        return FAMILIES[family]
    network: Callable[..., Network] = import_module(f"distill_bench.models.{family}").NETWORK
    return network


def for_data(config: StudentConfig, data: ImageDataset, side: int = 0, cells: int = 1) -> nn.Module:
    """The network that `config` names, for the classes of `data` and images of `side` pixels, 0: its own; see
    `build`."""
    side = side or data.resolution
    shape = {"channels": data.channels, "num_classes": data.num_classes, "resolution": side}
    return build(config, **shape, cells=cells)
