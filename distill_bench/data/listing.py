"""Lists of image files with labels, from the folder layouts in use. Nothing is decoded, nothing heavy
imported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distill_bench.errors import UserError

__all__ = ["FileList", "class_folders", "split_folders", "tiny_imagenet"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TEST_SHARE = 0.2  # of a folder of classes that has no test part of its own


@dataclass(frozen=True)
class FileList:
    """Image files under `root`: names relative to it, sizes in bytes, labels 0 .. K-1, in a fixed order."""

    root: Path
    names: list[str]
    sizes: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.names)

    def paths(self, indices: Iterable[int]) -> list[str]:
        """The whole paths of some of the files."""
        root = str(self.root)
        return [f"{root}/{self.names[i]}" for i in indices]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, sizes and labels: cheap, wherever the folder lies; blind to edits that keep
        sizes."""
        lines = (f"{n}\0{s}\0{k}\n" for n, s, k in zip(self.names, self.sizes, self.labels, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def only(self, classes: Sequence[int]) -> FileList:
        """The files of `classes`, relabelled 0, 1, ... in that order."""
        place = {k: i for i, k in enumerate(classes)}
        kept = [i for i, k in enumerate(self.labels) if k in place]
        names, sizes = [self.names[i] for i in kept], [self.sizes[i] for i in kept]
        return FileList(self.root, names, sizes, [place[self.labels[i]] for i in kept])


def split_folders(root: Path, wnids: Sequence[str] | None = None) -> tuple[FileList, FileList, list[str]]:
    """`train/<class>/` and `test/<class>/` (or `val/<class>/`): training files, test files, class folders.

    The classes are `wnids` in that order, or all folders of `train/`, sorted by name. UserError for a class
    folder that is missing, empty, or in the test part alone.
    """
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if test is None:
        raise UserError(f"{root}: has train/ but neither test/ nor val/")
    classes = list(wnids) if wnids is not None else _subfolders(root / "train")
    if wnids is None and (extra := sorted(set(_subfolders(test)) - set(classes))):
        raise UserError(f"{test / extra[0]}: a class without a folder in {root / 'train'}")
    return _listed(root, root / "train", classes), _listed(root, test, classes), classes


def class_folders(root: Path) -> tuple[FileList, FileList, list[str]]:
    """`<class>/` alone: in each class the fifth of the files (at least one) whose names hash lowest is the
    test part.

    The split follows from the file names, so that it does not change with the order of a listing, and adding
    files moves few others. UserError for a class of fewer than two images.
    """
    classes = _subfolders(root)
    everything = _listed(root, root, classes)
    ranks = [hashlib.sha256(name.encode()).digest() for name in everything.names]
    members: list[list[int]] = [[] for _ in classes]
    for i, k in enumerate(everything.labels):
        members[k].append(i)
    held: set[int] = set()
    for name, of_class in zip(classes, members, strict=True):
        if len(of_class) < 2:
            raise UserError(
                f"{root / name}: has {len(of_class)} image; a class needs two to have a test part"
            )
        held.update(sorted(of_class, key=ranks.__getitem__)[: max(1, round(TEST_SHARE * len(of_class)))])
    train = [i for i in range(len(everything)) if i not in held]
    return _subset(everything, train), _subset(everything, sorted(held)), classes


def tiny_imagenet(root: Path) -> tuple[FileList, FileList, list[str]]:
    """The official layout of Tiny ImageNet; the validation images are the test part, as in all published
    numbers.

    Classes are the sorted lines of `wnids.txt`, named by the first synonym in `words.txt`.
    """
    wnids = sorted((root / "wnids.txt").read_text().split())
    train = _listed(root, root / "train", wnids, inner="images")
    words = dict(
        line.split("\t", 1) for line in (root / "words.txt").read_text().splitlines() if "\t" in line
    )
    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return train, _annotated(root, wnids), names


def _annotated(root: Path, wnids: Sequence[str]) -> FileList:
    """The validation images of Tiny ImageNet, by `val_annotations.txt`."""
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise UserError(f"{annotations}: missing")
    rows = sorted(line.split("\t")[:2] for line in annotations.read_text().splitlines())
    sizes = dict(_scan(root / "val" / "images"))
    place = {wnid: k for k, wnid in enumerate(wnids)}
    for name, wnid in rows:
        if name not in sizes or wnid not in place:
            wrong = "no such file" if name not in sizes else f"its class {wnid} is not in wnids.txt"
            raise UserError(f"{root / 'val' / 'images' / name}: {wrong}")
    names = [f"val/images/{name}" for name, _ in rows]
    return FileList(root, names, [sizes[name] for name, _ in rows], [place[wnid] for _, wnid in rows])


def _listed(root: Path, part: Path, classes: Sequence[str], inner: str = "") -> FileList:
    """The files of `part`/<class>/[inner]/ for every class, sorted by name within it."""
    with ThreadPoolExecutor(16) as pool:  # network file systems answer slowly, but many at once
        found = list(pool.map(lambda name: _scan(part / name / inner), classes))
    names, sizes, labels = [], [], []
    for k, (name, files) in enumerate(zip(classes, found, strict=True)):
        prefix = (part.relative_to(root) / name / inner).as_posix()
        names += [f"{prefix}/{file}" for file, _ in files]
        sizes += [size for _, size in files]
        labels += [k] * len(files)
    return FileList(root, names, sizes, labels)


def _scan(folder: Path) -> list[tuple[str, int]]:
    """(name, size) of the image files in `folder`, sorted by name; UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such class folder")
    with os.scandir(folder) as entries:
        files = [(e.name, e.stat().st_size) for e in entries if _is_image(e.name) and e.is_file()]
    if not files:
        raise UserError(f"{folder}: holds no image files")
    return sorted(files)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")  # noqa: PTH122 (a million)


def _subfolders(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: holds no class folders")
    return names


def _subset(files: FileList, indices: Sequence[int]) -> FileList:
    lists = ([column[i] for i in indices] for column in (files.names, files.sizes, files.labels))
    return FileList(files.root, *lists)  # type: ignore[arg-type]
