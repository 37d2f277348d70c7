"""A split whose images are decoded when they are asked for: for data that do not fit the device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

from distill_bench.data.decode import Shape, cpus, decode_files
from distill_bench.data.listing import FileList
from distill_bench.data.split import Split, Transform

__all__ = ["StreamedSplit"]

CHUNK = 8  # files a thread decodes at a time


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that decode; large images are decoded outside the interpreter's lock."""
    return ThreadPoolExecutor(cpus(), thread_name_prefix="decode")


class StreamedSplit(Split):
    """Image files, decoded by threads into `shape` and transformed on the device.

    Its face and its values are those of a `ResidentSplit` of the same files. `batches` and `pixels` decode
    one batch ahead. A damaged file is a UserError that names it, when it is reached.
    """

    def __init__(
        self, files: FileList, labels: torch.Tensor, num_classes: int, transform: Transform, shape: Shape
    ) -> None:
        super().__init__(labels, num_classes, transform)
        self._files, self._shape = files, shape

    def pixels_at(self, indices: torch.Tensor) -> torch.Tensor:
        """The stored images (n, C, H, W) at `indices` (n,), uint8 on the device; a new tensor."""
        return self._collect(self._submit(indices.tolist()))

    def pixels(self, batch_size: int) -> Iterator[torch.Tensor]:
        """All stored images in order, uint8 (n, C, H, W), in batches."""
        batches = [range(i, min(i + batch_size, len(self))) for i in range(0, len(self), batch_size)]
        ahead = self._submit(batches[0])
        for following in [*batches[1:], range(0)]:
            current, ahead = ahead, self._submit(following)
            yield self._collect(current)

    def _submit(self, indices: list[int] | range) -> list[Future[np.ndarray]]:
        paths = self._files.paths(indices)
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        return [_pool().submit(decode_files, chunk, self._shape) for chunk in chunks]

    def _collect(self, parts: list[Future[np.ndarray]]) -> torch.Tensor:
        empty = np.empty((0, self._shape.channels, self._shape.side, self._shape.side), np.uint8)
        images = torch.from_numpy(np.concatenate([empty, *(part.result() for part in parts)]))
        device = self.labels.device
        return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images
