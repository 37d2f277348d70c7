"""The face of a training or test set, and the one whose images are held on the device.

Legend: N images, C channels, H x W pixels, K classes, N_max images of the largest class, n asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import torch

from distill_bench.errors import require

__all__ = ["ResidentSplit", "Split", "Transform", "hold_out"]


class Transform(Protocol):
    """From stored pixels to what networks see, and back."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """uint8 -> float32."""
        ...

    def forward_unit(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Floating-point images in [0, 1] -> what `forward` gives for the same pixels; differentiable."""
        ...

    def inverse(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """float32 -> [0, 1]."""
        ...

    def state(self) -> dict[str, torch.Tensor | list[float] | str]:
        """Plain values from which `transform_from` gives the transform back."""
        ...


class Split(ABC):
    """Labelled images on one device.

    labels: (N,) long, 0 .. K-1.
    class_counts: (K,) long, images of each class, all at least 1.
    class_indices: (K, N_max) long; row k starts with the `class_counts[k]` images of class k in order, and is
        padded with its first.
    smallest_class: images of the smallest class, as a number on the host.
    """

    def __init__(self, labels: torch.Tensor, num_classes: int, transform: Transform) -> None:
        self.labels, self.transform = labels, transform
        self.class_counts = labels.bincount(minlength=num_classes)
        self.smallest_class = int(self.class_counts.min())
        self.class_indices, self._padding = _by_class(labels, self.class_counts)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """The images (n, C, H, W) at `indices` (n,), transformed, float32 on the device; a new tensor."""
        return self.transform.forward(self.pixels_at(indices))

    def unit(self, indices: torch.Tensor) -> torch.Tensor:
        """The images (n, C, H, W) at `indices` (n,) in [0, 1], not transformed, float32 on the device; a new
        tensor."""
        return self.pixels_at(indices).float().div_(255)

    @abstractmethod
    def pixels_at(self, indices: torch.Tensor) -> torch.Tensor:
        """The stored images (n, C, H, W) at `indices` (n,), uint8 on the device; a new tensor."""

    @abstractmethod
    def pixels(self, batch_size: int) -> Iterator[torch.Tensor]:
        """All stored images in order, uint8 (n, C, H, W), in batches."""

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(images, labels) of the whole split in order; the last batch may be smaller."""
        for pixels, labels in zip(self.pixels(batch_size), self.labels.split(batch_size), strict=True):
            yield self.transform.forward(pixels), labels

    def sample_per_class(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Indices (K, n): row k holds n uniform draws from class k.

        Without replacement; a class of fewer than n images is sampled with replacement. Nothing is read from
        the device. Source of the second rule: our choice (the released code of the papers fails there).
        """
        num_classes, largest = self.class_indices.shape
        keys = torch.rand(num_classes, largest, generator=generator, device=generator.device)
        keys = keys.to(self.labels.device).masked_fill_(self._padding, 2.0)
        places = keys.topk(min(n, largest), largest=False).indices
        if n > self.smallest_class:
            uniforms = torch.rand(num_classes, n, generator=generator, device=generator.device)
            counts = self.class_counts[:, None]
            repeats = (uniforms.to(counts.device) * counts).long().minimum(counts - 1)
            places = torch.nn.functional.pad(places, (0, n - places.shape[1]))
            places = torch.where(counts >= n, places, repeats)
        return self.class_indices.gather(1, places)


class ResidentSplit(Split):
    """All images as uint8 (N, C, H, W) on the device; transformed when asked for."""

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, num_classes: int, transform: Transform
    ) -> None:
        super().__init__(labels, num_classes, transform)
        self._pixels = images

    def pixels_at(self, indices: torch.Tensor) -> torch.Tensor:
        """The stored images (n, C, H, W) at `indices` (n,), uint8 on the device; a new tensor."""
        return self._pixels[indices]

    def pixels(self, batch_size: int) -> Iterator[torch.Tensor]:
        """All stored images in order, uint8 (n, C, H, W), in batches."""
        yield from self._pixels.split(batch_size)


def hold_out(split: Split, per_class: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices (rest, holdout), each sorted: the holdout has `per_class` random images of every class.

    They follow from the generator alone. UserError unless at least one image of every class is in the rest.
    """
    allowed = f"from 1 to {split.smallest_class - 1}: the smallest class has {split.smallest_class} images"
    require(1 <= per_class < split.smallest_class, "images held out per class", per_class, allowed)
    in_holdout = torch.zeros(len(split), dtype=torch.bool, device=split.labels.device)
    in_holdout[split.sample_per_class(per_class, generator).flatten()] = True
    return (~in_holdout).nonzero().flatten(), in_holdout.nonzero().flatten()


def _by_class(labels: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices (K, N_max) of each class's images, and the mask (K, N_max) of that table's padding."""
    order = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(int(counts.max()), device=labels.device)
    padding = place >= counts[:, None]
    return order[starts[:, None] + place.where(~padding, 0)], padding
