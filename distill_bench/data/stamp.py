"""A stamp of the user's own images: what tells a run that they are no longer those it began with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from distill_bench.data.listing import image_folders
from distill_bench.data.locate import locate
from distill_bench.groups import DatasetConfig

__all__ = ["stamp"]


def stamp(config: DatasetConfig, data_root: Path) -> str:
    """16 hexadecimal digits that change when an image of `config.folder` is added, removed or written.

    They follow from the names, sizes and times of change of all image files, wherever the folder lies. Empty
    for the other sources, whose content is fixed. Reads no file and imports nothing heavy. Raises UserError,
    as `locate` and `image_folders` do.
    """
    if config.source != "imagefolder":
        return ""
    train, test, _ = image_folders(locate(config, data_root))
    return hashlib.sha256(f"{train.stamp} {test.stamp}".encode()).hexdigest()[:16]
