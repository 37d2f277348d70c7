"""Data sets of images: where they lie, how they are decoded and transformed; access by index, class, batch.

This package is cheap to import: a public name is loaded when it is first used. So the application can look
whether data are there (`distill_bench.data.locate`) before anything heavy is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_bench.deferred import lazy_names

if TYPE_CHECKING:
    from distill_bench.data.dataset import ImageDataset, load
    from distill_bench.data.normalise import Normalise, per_image_statistics, pixel_statistics
    from distill_bench.data.split import ResidentSplit, Split, Transform, hold_out
    from distill_bench.data.streamed import StreamedSplit
    from distill_bench.data.transforms import transform_from
    from distill_bench.data.whiten import Whiten, fit_zca
    from distill_bench.data.zoomed import ZoomedSplit, enlarged_side, zoom

__all__ = [
    "ImageDataset",
    "Normalise",
    "ResidentSplit",
    "Split",
    "StreamedSplit",
    "Transform",
    "Whiten",
    "ZoomedSplit",
    "enlarged_side",
    "fit_zca",
    "hold_out",
    "load",
    "per_image_statistics",
    "pixel_statistics",
    "transform_from",
    "zoom",
]

__getattr__ = lazy_names(
    __name__,
    {
        "dataset": ("ImageDataset", "load"),
        "normalise": ("Normalise", "per_image_statistics", "pixel_statistics"),
        "split": ("ResidentSplit", "Split", "Transform", "hold_out"),
        "streamed": ("StreamedSplit",),
        "transforms": ("transform_from",),
        "whiten": ("Whiten", "fit_zca"),
        "zoomed": ("ZoomedSplit", "enlarged_side", "zoom"),
    },
)
