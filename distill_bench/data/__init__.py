"""Data sets of images: where they lie, how they are decoded and transformed; access by index, class, batch.

This package is cheap to import: a public name is loaded when it is first used. So the application can look
whether data are there (`distill_bench.data.locate`) before anything heavy is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill_bench.data.dataset import ImageDataset, load
    from distill_bench.data.normalise import Normalise, per_image_statistics, pixel_statistics
    from distill_bench.data.split import ResidentSplit, Split, Transform, hold_out
    from distill_bench.data.streamed import StreamedSplit
    from distill_bench.data.transforms import transform_from
    from distill_bench.data.whiten import Whiten, fit_zca

__all__ = [
    "ImageDataset",
    "Normalise",
    "ResidentSplit",
    "Split",
    "StreamedSplit",
    "Transform",
    "Whiten",
    "fit_zca",
    "hold_out",
    "load",
    "per_image_statistics",
    "pixel_statistics",
    "transform_from",
]

_MODULES = {
    "dataset": ("ImageDataset", "load"),
    "normalise": ("Normalise", "per_image_statistics", "pixel_statistics"),
    "split": ("ResidentSplit", "Split", "Transform", "hold_out"),
    "streamed": ("StreamedSplit",),
    "transforms": ("transform_from",),
    "whiten": ("Whiten", "fit_zca"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
