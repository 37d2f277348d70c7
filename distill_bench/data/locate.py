"""Where a data set lies on disk, or that it can be downloaded: a look that imports nothing heavy.

The application calls `locate` before it imports torch, so that absent data cost one line and no wait.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from distill_bench.errors import UserError, closest, require
from distill_bench.groups import DatasetConfig

__all__ = ["Layout", "Location", "locate", "reachable"]


class Layout(Enum):
    """How the files of a data set are laid out."""

    bundled = "bundled"  # inside an installed package
    idx = "idx"  # the four IDX files of the MNIST family, gzipped or not
    batches = "batches"  # the python batches of the CIFAR sets
    tiny_imagenet = "tiny_imagenet"  # wnids.txt, train/<wnid>/images, val/images, val/val_annotations.txt
    split_folders = "split_folders"  # train/<class>/ and test/<class>/ or val/<class>/
    class_folders = "class_folders"  # <class>/
    absent = "absent"  # not on disk, but it can be downloaded


ARRAYS = (Layout.bundled, Layout.idx, Layout.batches)  # read whole: there are no image files to stream


@dataclass(frozen=True)
class Location:
    """A data set's files: how they are laid out, and the folder that holds them."""

    layout: Layout
    path: Path


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The facts of a source that hold before its files are read."""

    folders: tuple[str, ...]  # the places under data_root, unless `DatasetConfig.folder` names one
    layouts: tuple[tuple[str, str, Layout], ...]  # (folder in there, what must be in it, layout)
    wants: str  # what to put there
    url: str = ""  # from where it is downloaded, empty: never
    shape: tuple[int, int] | None = None  # (channels, pixels a side) where all images have the same


def _fast_ai(name: str) -> tuple[str, ...]:
    """The folders of a subset of ImageNet: fast.ai's archives, the largest first, then all of ImageNet."""
    return (f"{name}2", f"{name}2-320", f"{name}2-160", "imagenet")


_CIFAR = "https://www.cs.toronto.edu/~kriz/"

FACTS: dict[str, _Facts] = {
    "digits": _Facts(folders=("",), layouts=(("", "", Layout.bundled),), wants="scikit-learn", shape=(1, 8)),
    "fashion_mnist": _Facts(
        # the last is where Debian's package puts them
        folders=("fashion_mnist", "FashionMNIST/raw", "/usr/share/datasets/fashion-mnist"),
        layouts=(("", "train-images-idx3-ubyte*", Layout.idx),),
        wants="the four IDX files `train-images-idx3-ubyte[.gz]`, ...",
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
        shape=(1, 28),
    ),
    "cifar10": _Facts(
        folders=("cifar10", ""),
        layouts=(
            ("cifar-10-batches-py", "data_batch_1", Layout.batches),
            ("", "train/airplane", Layout.split_folders),
        ),
        wants="the python batches `cifar-10-batches-py/`, or image folders `{train,test}/<class>/`",
        url=f"{_CIFAR}cifar-10-python.tar.gz",
        shape=(3, 32),
    ),
    "cifar100": _Facts(
        folders=("cifar100", ""),
        layouts=(("cifar-100-python", "train", Layout.batches),),
        wants="the python batches `cifar-100-python/`",
        url=f"{_CIFAR}cifar-100-python.tar.gz",
        shape=(3, 32),
    ),
    "tinyimagenet": _Facts(
        folders=("tiny-imagenet-200",),
        layouts=(("", "wnids.txt", Layout.tiny_imagenet),),
        wants="the official archive's `wnids.txt`, `words.txt`, `train/` and `val/`",
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        shape=(3, 64),
    ),
    "imagenette": _Facts(
        folders=_fast_ai("imagenette"),
        layouts=(("", "train", Layout.split_folders),),
        wants="fast.ai's `{train,val}/<wnid>/`, or ImageNet as `imagenet/{train,val}/<wnid>/`",
        url="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
    ),
    "imagewoof": _Facts(
        folders=_fast_ai("imagewoof"),
        layouts=(("", "train", Layout.split_folders),),
        wants="fast.ai's `{train,val}/<wnid>/`, or ImageNet as `imagenet/{train,val}/<wnid>/`",
    ),
    "imagenet1k": _Facts(
        folders=("imagenet",),
        layouts=(("", "train", Layout.split_folders),),
        wants="`{train,val}/<wnid>/*.JPEG`",
    ),
    "imagefolder": _Facts(
        folders=(),
        layouts=(("", "train", Layout.split_folders), ("", "*/", Layout.class_folders)),
        wants="a folder of images per class, or `train/` and `test/` (or `val/`) of such folders",
    ),
}


def locate(config: DatasetConfig, data_root: Path) -> Location:
    """Where the files of `config` lie, and in which layout; `Layout.absent` if only their server has them.

    The first layout that is there counts; a folder that the config names is the only place. The function
    looks for one file per layout and reads none. It raises UserError, one line, if the config contradicts
    the facts of the source, or if the files are absent and cannot be downloaded: the line says what to put
    where.
    """
    if config.source not in FACTS:
        raise UserError(f"dataset.source={config.source}: no such source; {closest(config.source, FACTS)}")
    facts = FACTS[config.source]
    _check(config, facts)
    folders = (config.folder,) if config.folder else facts.folders
    for folder in (name for name in folders if _side(name) >= config.resolution):
        for inner, pattern, layout in facts.layouts:
            path = data_root / Path(folder).expanduser() / inner
            if layout is Layout.bundled or any(path.glob(pattern)):
                fits = not (config.streamed and layout in ARRAYS)
                require(fits, "dataset.streamed", config.streamed, f"false: {path} has no image files")
                return Location(layout, path)
    place = data_root / Path(folders[0]).expanduser()
    line = f"dataset={config.name}: no data under {place} (want {facts.wants})"
    if config.folder or not facts.url:
        raise UserError(line)
    if not reachable(facts.url):
        raise UserError(f"{line} and no network to download it ({facts.url})")
    return Location(Layout.absent, place)


def reachable(url: str, seconds: float = 3.0) -> bool:
    """Whether the server of `url` answers in time; a slow name service does not make the wait longer."""
    from urllib.request import Request, urlopen  # slow to import, and seldom needed

    answers: list[bool] = []

    def ask() -> None:
        request = Request(url, method="HEAD", headers={"User-Agent": "distill_bench"})
        try:
            with urlopen(request, timeout=seconds):
                answers.append(True)
        except (OSError, ValueError):  # URLError, HTTPError and timeouts are OSErrors
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [True]


def _side(folder: str) -> float:
    """The shorter side of the images in one of fast.ai's smaller archives, by its name; else no bound."""
    side = folder.rpartition("2-")[2]
    return int(side) if folder.startswith("image") and side.isdigit() else float("inf")


def _check(config: DatasetConfig, facts: _Facts) -> None:
    """Raise UserError for a config that is wrong whatever the files hold."""
    if facts.shape is not None:
        channels, side = facts.shape
        allowed = f"{channels} for {config.source}"
        require(config.channels == channels, "dataset.channels", config.channels, allowed)
        allowed = f"at most {side}, the size of {config.source}'s images"
        require(config.resolution <= side, "dataset.resolution", config.resolution, allowed)
    both = bool(config.mean) == bool(config.std)
    require(both, "dataset.std", config.std, "given with dataset.mean, or empty with it")
    distinct = len(set(config.classes)) == len(config.classes)
    require(distinct, "dataset.classes", config.classes, "distinct")
    if config.num_classes:
        fits = all(0 <= k < config.num_classes for k in config.classes)
        require(fits, "dataset.classes", config.classes, f"from 0 to {config.num_classes - 1}")
    if config.source == "imagefolder" and not config.folder:
        raise UserError(
            "dataset.folder=: must be the folder of images, one folder a class (dataset=imagefolder)"
        )
