"""Small folders of real image files, data set configs, and the real data where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from distill_bench import data
from distill_bench.catalogue import conf_dir
from distill_bench.data.locate import Layout, locate
from distill_bench.errors import UserError
from distill_bench.groups import DatasetConfig
from distill_bench.planning import typed
from distill_bench.seeding import derive
from distill_bench.store import Cache
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")
CLASSES = ("apple", "pear", "plum")
DATA_ROOT = Path(os.environ.get("DISTILL_BENCH_DATA", REPOSITORY / "data"))


def picture(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    """Write random pixels, `size` (width, height), in the format of the suffix."""
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture_folder(root: Path, train: tuple[int, ...] = (6, 4, 5), test: tuple[int, ...] = (2, 2, 2)) -> Path:
    """`train/` and `test/` with so many pictures of each of `CLASSES`: PNG, but one JPEG and one grey PNG."""
    for part, counts in (("train", train), ("test", test)):
        for k, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            for i in range(count):
                suffix = "jpg" if (k, i) == (0, 0) else "png"
                grey = "L" if (k, i) == (1, 1) else "RGB"
                size = (12 + i, 10) if i % 2 else (9, 14 + k)
                picture(root / part / name / f"{i}.{suffix}", derive(0, part, k, i) % 2**32, size, grey)
    return root


def replace_same_size(path: Path) -> None:
    """Write the file anew with as many bytes, a moment later than it was written before."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def folder_config(root: Path, **changes: Any) -> DatasetConfig:
    """The config of a folder of pictures, at 8x8."""
    fields: dict[str, Any] = {
        "name": "imagefolder",
        "source": "imagefolder",
        "folder": str(root),
        "num_classes": 0,
        "channels": 3,
        "resolution": 8,
    }
    return DatasetConfig(**{**fields, **changes})


def named_config(name: str, **changes: Any) -> DatasetConfig:
    """The config of `conf/dataset/<name>.yaml`, changed."""
    file = OmegaConf.load(conf_dir() / "dataset" / f"{name}.yaml")
    return typed(DatasetConfig, OmegaConf.merge(file, changes), "dataset")


def loaded(config: DatasetConfig, root: Path, data_root: Path | None = None) -> data.ImageDataset:
    """The data set on the CPU, with its cache under `root`."""
    return data.load(config, data_root or root, Cache(root / "cache", say=lambda _: None), CPU)


def on_disk(name: str) -> DatasetConfig:
    """The config of a real data set; skips the test, saying why, where its files are not on this machine."""
    config = named_config(name)
    try:
        absent = locate(config, DATA_ROOT).layout is Layout.absent
    except UserError as error:
        pytest.skip(f"{error} (DISTILL_BENCH_DATA says where to look)")
    if absent:
        pytest.skip(f"dataset={name}: not under {DATA_ROOT}, and tests download nothing")
    return config
