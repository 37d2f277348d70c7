"""A synthetic set that was made elsewhere: a folder of image files, or the tensors of a released program.

Nothing is distilled. So a set of any origin is measured under the same protocols as all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import torch

from distill_bench import products
from distill_bench.contract import MethodInfo
from distill_bench.errors import UserError
from distill_bench.groups import IpcConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "Values", "run"]


class Values(Enum):
    """What numbers that are no bytes stand for."""

    normalised = "normalised"  # by the data set's mean and std, as released programs save them
    unit = "unit"  # pixels in [0, 1]


@dataclass(kw_only=True)
class Config:
    """Where the images lie, and what their values are."""

    name: str = "external"
    path: str = ""  # a folder with one of images for each class, or a .pt, .pth or .safetensors file
    values: Values = Values.normalised  # of images that are not bytes: normalised | unit

    def inputs(self) -> dict[str, str]:
        """The user's own files. UserError if none are given."""
        if not self.path:
            raise UserError("method.path=: nothing given; want a folder of images, or a file of tensors")
        return {"path": self.path}


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline",
    summary="a set that was made elsewhere, from image files or tensors",
    uses=("dataset", "ipc"),
    published=True,
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Read the images, class by class; see `products.external_images` for what they may be."""
    data, per_class = ctx.dataset, ctx.group(IpcConfig).images_per_class
    images = products.external_images(cfg.path, data, per_class).to(ctx.device)
    if cfg.values is Values.unit and images.dtype != torch.uint8:
        images = data.transform.forward_unit(images)
    return products.synthetic_set(data, images)
