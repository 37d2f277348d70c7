"""Any model of timm as a student."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from distill_bench import architectures
from distill_bench.errors import UserError
from distill_bench.models.network import Features

__all__ = ["TimmNetwork"]


class TimmNetwork(nn.Module):
    """A model of timm, without its pretrained weights, trained one network at a time.

    `Features.maps` are timm's intermediate features (its stages, or its blocks for transformers), the
    embedding is what its classifier reads. `options`: more arguments of `timm.create_model`. UserError for a
    name that timm does not know, or a model that does not take images of this size.
    """

    def __init__(
        self, name: str, *, channels: int, num_classes: int, resolution: int, **options: Any
    ) -> None:
        super().__init__()
        import timm  # slow to import, and only its own models need it

        if not timm.is_model(name):
            known = [*architectures.names(), *timm.list_models()]
            match = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise UserError(
                f"student.name={name}: unknown; did you mean {match[0]!r}? "
                f"allowed: {', '.join(architectures.names())}, or any model name of timm"
            )
        options = {"pretrained": False, "num_classes": num_classes, "in_chans": channels, **options}
        try:
            self.net: Any = timm.create_model(name, img_size=resolution, **options)
        except TypeError:  # a model for images of any size
            self.net = timm.create_model(name, **options)
        self._check(name, channels, resolution)

    def forward(self, x: Tensor, features: bool = False) -> Any:
        if not features:
            return self.net(x)
        last, maps = self.net.forward_intermediates(x)
        embedding = self.net.forward_head(last, pre_logits=True)
        return Features(maps, embedding.flatten(1), self.net.forward_head(last))

    @torch.no_grad()
    def _check(self, name: str, channels: int, resolution: int) -> None:
        try:
            self.eval()(torch.zeros(2, channels, resolution, resolution))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            images = f"{resolution}-pixel images of {channels} channels"
            raise UserError(f"student.name={name}: does not take {images} ({reason})") from error
        self.train()
