"""A data set as its source reads it: labelled images or labelled files, before normalisation.

Legend: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from distill_bench.data.listing import FileList

__all__ = ["Images", "SourceImages"]


@dataclass(frozen=True)
class Images:
    """Decoded images (N, C, H, W) uint8 with labels (N,) long, on the CPU."""

    images: torch.Tensor
    labels: torch.Tensor
    saved_digest: str = ""  # the digest, where it was computed before

    def only(self, classes: Sequence[int]) -> Images:
        """The images of `classes`, relabelled 0, 1, ... in that order."""
        place = torch.full((max(int(self.labels.max()), *classes) + 1,), -1)
        place[list(classes)] = torch.arange(len(classes))
        labels = place[self.labels]
        return Images(self.images[labels >= 0], labels[labels >= 0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels and their shape."""
        if self.saved_digest:
            return self.saved_digest
        total = hashlib.sha256(str(tuple(self.images.shape)).encode())
        total.update(self.images.contiguous().numpy().data)
        return total.hexdigest()


@dataclass(frozen=True)
class SourceImages:
    """Both parts of a data set, and `side`: the height and width that every file must have, or None."""

    train: Images | FileList
    test: Images | FileList
    class_names: list[str]
    side: int | None = None
