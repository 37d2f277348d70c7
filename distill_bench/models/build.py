"""Networks by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from distill_bench.errors import UserError, closest
from distill_bench.groups import Norm, StudentConfig
from distill_bench.models.classic import SmallAlexNet, SmallVgg11
from distill_bench.models.convnet import ConvNet, usual_depth
from distill_bench.models.features import Features
from distill_bench.models.resnet import SmallResNet18

__all__ = ["TimmNet", "build"]

_SMALL: dict[str, type[nn.Module]] = {"alexnet": SmallAlexNet, "vgg11": SmallVgg11, "resnet18": SmallResNet18}


class TimmNet(nn.Module):
    """A network of timm, without pretrained weights; it has an embedding but no list of maps."""

    def __init__(self, name: str, *, channels: int, num_classes: int) -> None:
        import timm

        super().__init__()
        self.body = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=channels)

    def forward(self, x: torch.Tensor, features: bool = False) -> torch.Tensor | Features:
        """Logits (B, K); with `features`, the embedding before the classifier."""
        if not features:
            return self.body(x)
        whole = self.body.forward_features(x)
        embedding = self.body.forward_head(whole, pre_logits=True)
        return Features([], embedding.flatten(1), self.body.forward_head(whole))


def build(config: StudentConfig, *, channels: int, num_classes: int, resolution: int) -> nn.Module:
    """The network that `config` names, initialised from PyTorch's global generator (see `reinitialise`).

    ``net(x)`` gives logits (B, K), ``net(x, features=True)`` gives `Features`. UserError with the closest match
    for a name that neither this package nor timm knows.
    """
    shape: dict[str, Any] = {"channels": channels, "num_classes": num_classes}
    if config.name == "convnet":
        depth = config.depth or usual_depth(resolution)
        return ConvNet(
            **shape, resolution=resolution, width=config.width, depth=depth, norm=config.norm, pooling=config.pooling
        )
    if config.name in _SMALL:
        return _SMALL[config.name](**shape, resolution=resolution, norm=Norm(config.norm))
    import timm

    if not timm.is_model(config.name):
        known = ["convnet", *_SMALL, *timm.list_models()]
        hint = closest(config.name, known).split("allowed:")[0]
        raise UserError(
            f"student.name={config.name}: unknown network; {hint}allowed: convnet, {', '.join(_SMALL)} or a name of timm"
        )
    return TimmNet(config.name, **shape)
