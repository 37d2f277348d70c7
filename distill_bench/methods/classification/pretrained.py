"""A published classifier as it is: a network of timm or torchvision with its weights. Nothing is trained.

Its weights are read from a file, or from the cache of the package; nothing is downloaded. Images go in at the
size, with the crop and the normalisation that the network was published with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import models, products
from distill_bench.contract import MethodInfo
from distill_bench.errors import UserError, require
from distill_bench.groups import StudentConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill_bench.context import Context
    from distill_bench.data import ImageDataset
    from distill_bench.models import Pretrained
    from distill_bench.products import Classifier

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """Which network, and its weights."""

    name: str = "pretrained"
    network: str = (
        "resnet18"  # a name of timm or torchvision, with its package and its tag where that matters
    )
    weights: str = ""  # a file of its weights (.safetensors, .pth); empty: those in the package's cache

    def __post_init__(self) -> None:
        require(bool(self.network), "method.network", self.network, "a name of timm or torchvision")

    def inputs(self) -> dict[str, str]:
        """The user's own file of weights, if there is one."""
        return {"weights": self.weights} if self.weights else {}


INFO = MethodInfo(
    task="classification",
    paper="baseline",
    summary="a published network of timm or torchvision with its weights",
    uses=("dataset",),
    published=True,
)


def run(ctx: Context, cfg: Config) -> Classifier:
    """Read the weights, and find the data set's classes among the network's outputs.

    By ImageNet's wnids where both have them, else in order if there are as many. UserError for other channels
    or classes.
    """
    data = ctx.dataset
    found = models.load_pretrained(cfg.network, cfg.weights, key="method.network")
    require(
        found.channels == data.channels,
        "method.network",
        cfg.network,
        f"a network for {data.channels} channels, not {found.channels}",
    )
    device = ctx.device
    return products.Classifier(
        backbone=found.module.to(device),
        network=StudentConfig(name=found.name),
        transform=data.transform,
        class_names=data.class_names,
        channels=data.channels,
        resolution=data.resolution,
        outputs=found.num_classes,
        view=found.view.to(device),
        class_map=_places(data, found, cfg.network),
    )


def _places(data: ImageDataset, found: Pretrained, name: str) -> Sequence[int] | None:
    """For each class of the data set, which output of the network is its own; None: all, in order."""
    outputs = {wnid: place for place, wnid in enumerate(found.class_names)}
    if all(wnid in outputs for wnid in data.class_names):
        return [outputs[wnid] for wnid in data.class_names]
    if found.num_classes != data.num_classes:
        has = f"has {found.num_classes} classes"
        raise UserError(f"method.network={name}: {has}; dataset={data.name} has {data.num_classes} others")
    return None
