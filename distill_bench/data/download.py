"""Downloads through torchvision: checked by digest, unpacked in a folder of their own, then moved."""

from __future__ import annotations

import shutil
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from distill_bench.data.locate import Layout, Location, locate
from distill_bench.errors import UserError
from distill_bench.groups import DatasetConfig

__all__ = ["ARCHIVES", "archive", "download"]

SILENCE = 30.0  # seconds without a byte after which a download has failed
_FAST_AI = "https://s3.amazonaws.com/fast-ai-imageclas/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"

ARCHIVES = {  # source, with the shorter side where there are several: url, MD5, the folder inside
    "cifar10": (f"{_CIFAR}cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-batches-py"),
    "cifar100": (f"{_CIFAR}cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", "cifar-100-python"),
    "tinyimagenet": (
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
        "tiny-imagenet-200",
    ),
    "imagenette-160": (
        f"{_FAST_AI}imagenette2-160.tgz",
        "e793b78cc4c9e9a4ccc0c1155377a412",
        "imagenette2-160",
    ),
    "imagenette-320": (
        f"{_FAST_AI}imagenette2-320.tgz",
        "3df6f0d01a2c9592104656642f5e78a3",
        "imagenette2-320",
    ),
    "imagenette": (f"{_FAST_AI}imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612", "imagenette2"),
}


def download(config: DatasetConfig, data_root: Path) -> Location:
    """Fetch the absent files of `config` into `data_root`; their location.

    Other processes that want the same files wait meanwhile. A whole folder appears at once or not at all; an
    archive that was fetched before an interruption is not fetched again. UserError, one line, on any failure.
    """
    data_root.mkdir(parents=True, exist_ok=True)
    with FileLock(data_root / f".download-{config.source}.lock"):
        location = locate(config, data_root)
        if location.layout is not Layout.absent:
            return location
        workplace = data_root / f".download-{config.source}"
        print(f"dataset={config.name}: downloading into {data_root}", flush=True)
        try:
            with _timeout(SILENCE):
                folder = _fetch(config, workplace)
            folder.replace(data_root / folder.name)
        except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise UserError(
                f"dataset={config.name}: the download failed ({error}); run again to retry"
            ) from None
        shutil.rmtree(workplace)
        return locate(config, data_root)


def archive(config: DatasetConfig) -> tuple[str, str, str]:
    """The archive to fetch: url, MD5, folder inside. For imagenette the smallest that need not be
    enlarged."""
    sizes = [f"{config.source}-{side}" for side in (160, 320) if config.resolution <= side]
    return ARCHIVES[next((name for name in sizes if name in ARCHIVES), config.source)]


def _fetch(config: DatasetConfig, workplace: Path) -> Path:
    """Download and unpack into `workplace`; the folder that is to be moved into place."""
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import download_and_extract_archive

    if config.source == "fashion_mnist":
        FashionMNIST(workplace, download=True)
        return workplace / "FashionMNIST"
    url, md5, folder = archive(config)
    download_and_extract_archive(url, str(workplace), md5=md5)
    return workplace / folder


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Let no connection stay silent for longer; torchvision sets no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
