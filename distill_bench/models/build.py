"""From the `student` group to a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distill_bench.groups import StudentConfig
from distill_bench.models.alexnet import AlexNet
from distill_bench.models.convnet import ConvNet
from distill_bench.models.foreign import TimmNetwork
from distill_bench.models.resnet import ResNet18, ResNetAP10
from distill_bench.models.vgg import VGG11

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["build", "for_data"]


def build(config: StudentConfig, *, channels: int, num_classes: int, resolution: int) -> nn.Module:
    """The network that `config` names, for square images of `resolution` pixels a side, on the CPU.

    `forward(x)` gives logits (B, K), `forward(x, features=True)` gives `Features`. Width, depth and pooling
    are those of ConvNet; the norm also that of VGG-11 and of the residual networks (AlexNet has none). Its
    parameters are always the same: `reinitialise` it for others. UserError for an unknown name, or a network
    too deep for the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the layers' constructors draw from it
        return _named(config, channels=channels, num_classes=num_classes, resolution=resolution)


def for_data(config: StudentConfig, data: ImageDataset) -> nn.Module:
    """The network that `config` names, for the images and the classes of `data`; see `build`."""
    shape = {"channels": data.channels, "num_classes": data.num_classes, "resolution": data.resolution}
    return build(config, **shape)


def _named(config: StudentConfig, **shape: Any) -> nn.Module:
    if config.name == "convnet":
        width, depth = config.width, config.depth
        return ConvNet(**shape, width=width, depth=depth, norm=config.norm, pooling=config.pooling)
    if config.name == "convnet6":
        width, depth = config.width, config.depth or 6
        return ConvNet(
            **shape, width=width, depth=depth, norm=config.norm, pooling=config.pooling, any_size=True
        )
    if config.name == "alexnet":
        return AlexNet(**shape)
    if config.name == "vgg11":
        return VGG11(**shape, norm=config.norm)
    if config.name == "resnet18":
        return ResNet18(**shape, norm=config.norm)
    if config.name == "resnetap10":
        return ResNetAP10(**shape, norm=config.norm)
    return TimmNetwork(config.name, **shape)
