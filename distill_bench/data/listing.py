"""Lists of image files with labels, from the folder layouts in use. Nothing is decoded, nothing heavy
imported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distill_bench.data.locate import Layout, Location
from distill_bench.errors import UserError

__all__ = ["FileList", "class_folders", "image_folders", "labelled_files", "split_folders", "tiny_imagenet"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TEST_SHARE = 0.2  # of a folder of classes that has no test part of its own


@dataclass(frozen=True)
class FileList:
    """Image files under `root`, in a fixed order.

    Each file has a name relative to `root`, a size in bytes, a time of its last change in nanoseconds, and a
    label 0 .. K-1.
    """

    root: Path
    names: list[str]
    sizes: list[int]
    mtimes: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.names)

    def paths(self, indices: Iterable[int]) -> list[str]:
        """The whole paths of the files at `indices`."""
        root = str(self.root)
        return [f"{root}/{self.names[i]}" for i in indices]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, sizes and labels: the same wherever and whenever the folder was copied.

        It does not notice a file that is replaced by another one of the same size; `stamp` does.
        """
        return _digest(self.names, self.sizes, self.labels)

    @cached_property
    def stamp(self) -> str:
        """SHA-256 of names, sizes, times of change and labels: the key of what is derived from the files.

        It changes whenever a file is written, though the pixels may be the same.
        """
        return _digest(self.names, self.sizes, self.mtimes, self.labels)

    def only(self, classes: Sequence[int]) -> FileList:
        """The files of `classes`, relabelled 0, 1, ... in that order."""
        place = {k: i for i, k in enumerate(classes)}
        files = self.subset([i for i, k in enumerate(self.labels) if k in place])
        return FileList(files.root, files.names, files.sizes, files.mtimes, [place[k] for k in files.labels])

    def subset(self, indices: Sequence[int]) -> FileList:
        """The files at `indices`, in that order."""
        return FileList(
            self.root,
            [self.names[i] for i in indices],
            [self.sizes[i] for i in indices],
            [self.mtimes[i] for i in indices],
            [self.labels[i] for i in indices],
        )


@dataclass(frozen=True, order=True)
class _File:
    """An image file of one folder."""

    name: str
    size: int  # bytes
    mtime: int  # nanoseconds


def image_folders(location: Location) -> tuple[FileList, FileList, list[str]]:
    """A folder of class folders, with or without a test part: training files, test files, class folders."""
    if location.layout is Layout.split_folders:
        return split_folders(location.path)
    return class_folders(location.path)


def split_folders(root: Path, wnids: Sequence[str] | None = None) -> tuple[FileList, FileList, list[str]]:
    """`train/<class>/` and `test/<class>/` (or `val/<class>/`): training files, test files, class folders.

    The classes are `wnids` in that order, or all folders of `train/`, sorted by name. UserError for a class
    folder that is missing, empty, unreadable, or in the test part alone.
    """
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if test is None:
        raise UserError(f"{root}: has train/ but neither test/ nor val/")
    classes = list(wnids) if wnids is not None else _subfolders(root / "train")
    if wnids is None and (extra := sorted(set(_subfolders(test)) - set(classes))):
        raise UserError(f"{test / extra[0]}: a class without a folder in {root / 'train'}")
    return _listed(root, root / "train", classes), _listed(root, test, classes), classes


def class_folders(root: Path) -> tuple[FileList, FileList, list[str]]:
    """`<class>/` alone: training files, test files, class folders.

    The test part of a class is the fifth of its files (at least one) whose names hash lowest. The split
    follows from the file names: it does not change with the order of a listing, and a new file moves few
    others. UserError for a class of fewer than two images.
    """
    classes = _subfolders(root)
    everything = _listed(root, root, classes)
    ranks = [hashlib.sha256(name.encode()).digest() for name in everything.names]
    members: list[list[int]] = [[] for _ in classes]
    for i, k in enumerate(everything.labels):
        members[k].append(i)
    test: set[int] = set()
    for name, of_class in zip(classes, members, strict=True):
        if len(of_class) < 2:
            raise UserError(
                f"{root / name}: has {len(of_class)} image; a class needs two to have a test part"
            )
        test.update(sorted(of_class, key=ranks.__getitem__)[: max(1, round(TEST_SHARE * len(of_class)))])
    train = [i for i in range(len(everything)) if i not in test]
    return everything.subset(train), everything.subset(sorted(test)), classes


def labelled_files(root: Path, class_names: Sequence[str]) -> FileList:
    """The image files in `root`/<class>/: of folders that are named as the classes, or in their order.

    UserError for another number of folders.
    """
    folders = _subfolders(root)
    if len(folders) != len(class_names):
        raise UserError(f"{root}: has {len(folders)} class folders; want {len(class_names)}")
    return _listed(root, root, list(class_names) if set(folders) == set(class_names) else folders)


def tiny_imagenet(root: Path) -> tuple[FileList, FileList, list[str]]:
    """The official layout of Tiny ImageNet: training files, test files, class names.

    The test part is the official validation part, as in all published numbers. Classes are the sorted lines
    of `wnids.txt`, named by the first synonym in `words.txt`.
    """
    wnids = sorted(line.strip() for line in _lines(root / "wnids.txt"))
    train = _listed(root, root / "train", wnids, inner="images")
    words = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return train, _annotated(root, wnids), names


def _annotated(root: Path, wnids: Sequence[str]) -> FileList:
    """The validation images of Tiny ImageNet, by `val_annotations.txt`."""
    annotations = root / "val" / "val_annotations.txt"
    rows = []
    for line in _lines(annotations):
        name, tab, rest = line.partition("\t")
        if not tab:
            raise UserError(f"{annotations}: the line {line[:80]!r} has no tab between file and class")
        rows.append((name, rest.split("\t")[0]))
    rows.sort()
    files = {file.name: file for file in _scan(root / "val" / "images")}
    place = {wnid: k for k, wnid in enumerate(wnids)}
    for name, wnid in rows:
        if name not in files or wnid not in place:
            wrong = "no such file" if name not in files else f"its class {wnid} is not in wnids.txt"
            raise UserError(f"{root / 'val' / 'images' / name}: {wrong}")
    return FileList(
        root,
        [f"val/images/{name}" for name, _ in rows],
        [files[name].size for name, _ in rows],
        [files[name].mtime for name, _ in rows],
        [place[wnid] for _, wnid in rows],
    )


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank; UserError if it is missing, unreadable or not UTF-8."""
    if not path.is_file():
        raise UserError(f"{path}: missing")
    with _readable(path):
        content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: line {number} is not UTF-8 text") from None
    return [line for line in text.splitlines() if line.strip()]


def _listed(root: Path, part: Path, classes: Sequence[str], inner: str = "") -> FileList:
    """The files of `part`/<class>/[inner]/ for every class, sorted by name within it."""
    with ThreadPoolExecutor(16) as pool:  # network file systems answer slowly, but many at once
        folders = list(pool.map(lambda name: _scan(part / name / inner), classes))
    names, sizes, mtimes, labels = [], [], [], []
    for k, (name, files) in enumerate(zip(classes, folders, strict=True)):
        prefix = (part.relative_to(root) / name / inner).as_posix()
        names += [f"{prefix}/{file.name}" for file in files]
        sizes += [file.size for file in files]
        mtimes += [file.mtime for file in files]
        labels += [k] * len(files)
    return FileList(root, names, sizes, mtimes, labels)


def _scan(folder: Path) -> list[_File]:
    """The image files in `folder`, sorted by name; UserError if there are none, or one has a wrong name."""
    with _readable(folder):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such class folder")
        with os.scandir(folder) as entries:
            images = [(e.name, e.stat()) for e in entries if _is_image(e.name) and e.is_file()]
    if not images:
        raise UserError(f"{folder}: holds no image files")
    for name, _ in images:
        _check_utf8(folder, name)
    return sorted(_File(name, stat.st_size, stat.st_mtime_ns) for name, stat in images)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")  # noqa: PTH122


def _subfolders(folder: Path) -> list[str]:
    """The names of the class folders in `folder`, sorted; UserError if there are none, or one cannot be a
    class name."""
    with _readable(folder):
        names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: holds no class folders")
    for name in names:
        _check_utf8(folder, name)
        if name.splitlines() != [name]:
            raise UserError(f"{folder}: the class folder {name!r} has a line break in its name; rename it")
    return names


def _check_utf8(folder: Path, name: str) -> None:
    """Refuse a name of bytes that are not UTF-8, which the file system gives with surrogates in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        readable = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise UserError(f"{folder}: the name '{readable}' is not UTF-8; rename it") from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _digest(*columns: Sequence[object]) -> str:
    """SHA-256 of a table: a line for each row, with NUL between its columns."""
    lines = ("\0".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
