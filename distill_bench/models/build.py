"""From the `student` group to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from distill_bench.groups import StudentConfig
from distill_bench.groups.student import NETWORK_FIELDS
from distill_bench.models.alexnet import AlexNet
from distill_bench.models.convnet import ConvNet, convnet6
from distill_bench.models.foreign import TimmNetwork
from distill_bench.models.network import Network
from distill_bench.models.resnet import ResNet18, ResNetAP10
from distill_bench.models.vgg import VGG11

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["NETWORKS", "build", "for_data"]

NETWORKS: Mapping[str, Callable[..., Network]] = {
    "convnet": ConvNet,
    "convnet6": convnet6,
    "alexnet": AlexNet,
    "vgg11": VGG11,
    "resnet18": ResNet18,
    "resnetap10": ResNetAP10,
}
"""What makes each network of `NETWORK_FIELDS` from the images' shape and from the fields that it uses."""


def build(config: StudentConfig, *, channels: int, num_classes: int, resolution: int) -> nn.Module:
    """The network that `config` names, for square images of `resolution` pixels a side, on the CPU.

    `forward(x)` gives logits (B, K), `forward(x, features=True)` gives `Features`. A name that `NETWORKS`
    does not have is one of timm. Its parameters are always the same: `reinitialise` draws others. UserError
    for an unknown name, or a network too deep for the images.
    """
    shape = {"channels": channels, "num_classes": num_classes, "resolution": resolution}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the layers' constructors draw from it
        if config.name not in NETWORKS:
            return TimmNetwork(config.name, **shape)
        fields = {field: getattr(config, field) for field in NETWORK_FIELDS[config.name]}
        return NETWORKS[config.name](**shape, **fields)


def for_data(config: StudentConfig, data: ImageDataset) -> nn.Module:
    """The network that `config` names, for the images and the classes of `data`; see `build`."""
    return build(config, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution)
