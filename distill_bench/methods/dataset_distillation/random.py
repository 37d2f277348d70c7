"""Random selection: IPC real images of each class, uniformly and without replacement. The baseline of
baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import matching, products
from distill_bench.contract import MethodInfo
from distill_bench.groups import IpcConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """Nothing to choose."""

    name: str = "random"


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline",
    summary="real images, drawn at random",
    uses=("dataset", "ipc"),
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:  # noqa: ARG001 (every method has this form)
    """Draw IPC images per class; the same draw that the other methods start from under the same seed."""
    data = ctx.dataset
    indices = matching.random_indices(ctx, data, ctx.group(IpcConfig).drawn)
    return products.synthetic_set(data, data.train.pixels_at(indices.flatten()))
