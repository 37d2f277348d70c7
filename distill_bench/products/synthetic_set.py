"""The product of dataset distillation: a few labelled images, whole in themselves.

Legend: N images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from distill_bench import data, reporting
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset, Transform

__all__ = ["SyntheticSet", "synthetic_set"]


@dataclass(frozen=True, kw_only=True)
class SyntheticSet:
    """Labelled images, and what a network needs to learn from them.

    images: (N, C, H, W) as they are kept: float32 as networks learn from them, or uint8 pixels. Class by
    class. labels: (N,) long, 0 .. K-1. transform: from pixels to what networks learn from, and back.
    class_names: K names. lr: the learning rate of networks that learn from it, where the method learned one.
    soft_labels: (N, K) probabilities, where the method made them. measures, artifacts: what the method
    measured itself, and files that it left (role -> name) in its folder.
    """

    images: Tensor
    labels: Tensor
    transform: Transform
    class_names: Sequence[str]
    lr: float | None = None
    soft_labels: Tensor | None = None
    measures: tuple[Measure, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self) -> Tensor:
        """The images (N, C, H, W) as networks learn from them: float32, normalised."""
        return self.transform.forward(self.images) if self.images.dtype == torch.uint8 else self.images

    def pixels(self) -> Tensor:
        """The images (N, C, H, W) in [0, 1]; learned ones are clipped."""
        if self.images.dtype == torch.uint8:
            return self.images.float() / 255
        return self.transform.inverse(self.images).clamp(0, 1)

    def dataset(self) -> TensorDataset:
        """A torch Dataset of (normalised image, label), or (image, label, soft label)."""
        soft = [] if self.soft_labels is None else [self.soft_labels]
        return TensorDataset(self.inputs(), self.labels, *soft)

    def facts(self) -> dict[str, Any]:
        """What can be known without the content: the numbers of classes and channels, the size in pixels."""
        return {
            "classes": len(self.class_names),
            "channels": self.images.shape[1],
            "resolution": self.images.shape[-1],
            "images": len(self),
        }

    def tensors(self) -> dict[str, Any]:
        """Everything but measures and artifacts, as a tree for a file."""
        return {
            "images": self.images,
            "labels": self.labels,
            "lr": self.lr,
            "soft_labels": self.soft_labels,
            "transform": self.transform.state(),
            "class_names": list(self.class_names),
        }

    @classmethod
    def from_tensors(cls, tree: Mapping[str, Any], device: torch.device) -> SyntheticSet:
        """The set of such a tree, on `device`."""
        soft = tree["soft_labels"]
        return cls(
            images=tree["images"].to(device),
            labels=tree["labels"].to(device),
            transform=data.transform_from(tree["transform"], device),
            class_names=tree["class_names"],
            lr=tree["lr"],
            soft_labels=None if soft is None else soft.to(device),
        )

    def draw(self, path: Path, title: str = "") -> None:
        """Write a PNG of the images, under `title`; rows are classes."""
        rows = self.pixels().cpu().unflatten(0, (len(self.class_names), -1))
        reporting.image_grid(path, rows.numpy(), self.class_names, title)


def synthetic_set(source: ImageDataset, images: Tensor, **more: Any) -> SyntheticSet:
    """Images of all classes of `source`, equally many and class by class: (K * IPC, C, H, W) or (K, IPC, C,
    H, W)."""
    flat = images.flatten(0, 1) if images.ndim == 5 else images
    per_class = len(flat) // source.num_classes
    labels = torch.arange(source.num_classes, device=flat.device).repeat_interleave(per_class)
    return SyntheticSet(
        images=flat, labels=labels, transform=source.transform, class_names=source.class_names, **more
    )
