"""Random selection: IPC real images of each class, uniformly and without replacement. The baseline of
baselines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from distill_bench import matching
from distill_bench.contract import Context, MethodInfo, SyntheticSet
from distill_bench.groups import Init

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """Nothing to choose."""

    name: str = "random"


INFO = MethodInfo(
    task="dataset_distillation",
    paper="baseline",
    summary="real images, drawn at random",
    uses=("dataset", "ipc", "student", "protocol"),
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:  # noqa: ARG001 (every method has this form)
    """Draw IPC images per class; the same draw that the other methods start from under the same seed."""
    images = matching.initial_images(ctx, Init.real)
    labels = torch.arange(len(images), device=ctx.device).repeat_interleave(images.shape[1])
    return SyntheticSet(images.flatten(0, 1), labels)
