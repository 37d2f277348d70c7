"""Reading the layouts that are on people's disks; a file or folder that is not as it should be is named."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from distill_bench.data import sources
from distill_bench.data.idx import read_idx
from distill_bench.data.listing import FileList, class_folders, split_folders, tiny_imagenet
from distill_bench.data.locate import Layout, Location
from distill_bench.data.source_images import Images
from distill_bench.errors import UserError
from tests.data.pictures import folder_config, loaded, named_config, picture, picture_folder


def write_idx(path: Path, values: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    content = header + values.numpy().tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"], ids=["plain", "gzipped"])
def test_an_idx_file_is_read_back(tmp_path: Path, suffix: str) -> None:
    values = torch.randint(0, 256, (5, 4, 3), dtype=torch.uint8)
    write_idx(tmp_path / f"values{suffix}", values)
    assert torch.equal(read_idx(tmp_path, "values"), values)


DAMAGE = {
    "cut short": (lambda content: content[:-5], "header says"),
    "another type": (lambda content: bytes([0, 0, 13]) + content[3:], "not an IDX file"),
    "empty": (lambda content: content[:0], "not an IDX file"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_idx_file_is_named(tmp_path: Path, case: str) -> None:
    damage, words = DAMAGE[case]
    write_idx(tmp_path / "values", torch.zeros(5, 4, dtype=torch.uint8))
    (tmp_path / "values").write_bytes(damage((tmp_path / "values").read_bytes()))
    with pytest.raises(UserError) as caught:
        read_idx(tmp_path, "values")
    assert str(tmp_path / "values") in str(caught.value)
    assert words in str(caught.value)


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path / "values.gz", torch.randint(0, 256, (50, 40), dtype=torch.uint8))
    (tmp_path / "values.gz").write_bytes((tmp_path / "values.gz").read_bytes()[:-300])
    with pytest.raises(UserError, match=r"values\.gz: not a whole gzip file"):
        read_idx(tmp_path, "values")


def test_fashion_mnist_of_the_wrong_shape_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "fashion_mnist"
    write_idx(folder / "train-images-idx3-ubyte", torch.zeros(7, 28, 27, dtype=torch.uint8))
    write_idx(folder / "train-labels-idx1-ubyte", torch.zeros(7, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"\(7, 28, 27\) images and \(7,\) labels; must be 60000 of 28x28"):
        sources.fashion_mnist(Location(Layout.idx, folder))


def test_a_label_above_the_classes_of_fashion_mnist_is_named(tmp_path: Path) -> None:
    labels = torch.arange(60_000, dtype=torch.int32).remainder(10).to(torch.uint8)
    labels[777] = 10
    write_idx(tmp_path / "train-images-idx3-ubyte", torch.zeros(60_000, 28, 28, dtype=torch.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    with pytest.raises(UserError, match=r"train-labels-\*: has label 10; must be 0 to 9"):
        sources.fashion_mnist(Location(Layout.idx, tmp_path))


def tiny_folder(root: Path) -> Path:
    """Two classes of Tiny ImageNet, out of alphabetical order, in the official layout."""
    for k, wnid in enumerate(("n02", "n01")):
        for i in range(3):
            picture(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 10 * k + i, (64, 64))
    for i in range(4):
        picture(root / "val" / "images" / f"val_{i}.JPEG", 100 + i, (64, 64))
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\ttabby cat\nn03\tother\n")
    rows = (f"val_{i}.JPEG\t{wnid}\t0\t0\t9\t9\n" for i, wnid in enumerate(("n01", "n02", "n02", "n01")))
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    return root


def test_tiny_imagenet_is_read_in_its_official_layout(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "tiny-imagenet-200")
    dataset = loaded(named_config("tinyimagenet", num_classes=2, smallest_class=0), tmp_path)
    assert dataset.class_names == ["goldfish", "tabby cat"]
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1, 1, 0]


TINY_DAMAGE = {
    "a validation image is missing": (
        lambda root: (root / "val/images/val_2.JPEG").unlink(),
        "val_2.JPEG: no such file",
    ),
    "no annotations": (
        lambda root: (root / "val/val_annotations.txt").unlink(),
        "val_annotations.txt: missing",
    ),
    "a class is missing": (
        lambda root: (root / "train/n02").rename(root / "gone"),
        "n02/images: no such class folder",
    ),
    "another size": (
        lambda root: picture(root / "train/n01/images/n01_1.JPEG", 0, (63, 64)),
        "n01_1.JPEG: is 63x64",
    ),
    "an annotation without a tab": (
        lambda root: (root / "val/val_annotations.txt").write_text("val_0.JPEG n01\n"),
        "val_annotations.txt: the line 'val_0.JPEG n01' has no tab",
    ),
    "annotations that are not UTF-8": (
        lambda root: (root / "val/val_annotations.txt").write_bytes(b"val_0.JPEG\tn01\nval_\xff.JPEG\tn01\n"),
        "val_annotations.txt: line 2 is not UTF-8 text",
    ),
    "classes that are not UTF-8": (
        lambda root: (root / "wnids.txt").write_bytes(b"\xff\xfen\x000\x00"),
        "wnids.txt: line 1 is not UTF-8 text",
    ),
    "words that are not UTF-8": (
        lambda root: (root / "words.txt").write_bytes("n01\tgrün\n".encode("latin-1")),
        "words.txt: line 1 is not UTF-8 text",
    ),
    "no words": (lambda root: (root / "words.txt").unlink(), "words.txt: missing"),
}


@pytest.mark.parametrize("case", TINY_DAMAGE)
def test_damage_to_tiny_imagenet_is_named(tmp_path: Path, case: str) -> None:
    damage, words = TINY_DAMAGE[case]
    damage(tiny_folder(tmp_path / "tiny-imagenet-200"))
    with pytest.raises(UserError) as caught:
        loaded(named_config("tinyimagenet", num_classes=2, smallest_class=0), tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blank_lines_of_tiny_imagenet_are_passed_over(tmp_path: Path) -> None:
    root = tiny_folder(tmp_path)
    before = tiny_imagenet(root)
    for name in ("wnids.txt", "words.txt", "val/val_annotations.txt"):
        (root / name).write_text((root / name).read_text() + "\n \n")
    assert tiny_imagenet(root) == before


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    picture_folder(tmp_path)
    (tmp_path / "train" / "quince").mkdir()
    with pytest.raises(UserError, match=r"train/quince: holds no image files"):
        split_folders(tmp_path)


def test_a_test_class_without_training_images_is_named(tmp_path: Path) -> None:
    picture_folder(tmp_path)
    picture(tmp_path / "test" / "quince" / "0.png", 0)
    with pytest.raises(UserError, match=r"test/quince: a class without a folder"):
        split_folders(tmp_path)


def test_a_folder_without_a_test_part_is_named(tmp_path: Path) -> None:
    picture_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "holdout")
    with pytest.raises(UserError, match="neither test/ nor val/"):
        split_folders(tmp_path)


NAMES: dict[str, tuple[str, bytes, str]] = {
    "a file that is not UTF-8": ("file", b"apf\xe4l.png", r"pear: the name 'apf\xe4l.png' is not UTF-8"),
    "a class that is not UTF-8": ("class", b"apf\xe4l", r"train: the name 'apf\xe4l' is not UTF-8"),
    "a class with a line break": (
        "class",
        b"sour\napple",
        r"train: the class folder 'sour\napple' has a line",
    ),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_cannot_be_kept_is_shown_in_one_line(tmp_path: Path, case: str) -> None:
    kind, name, words = NAMES[case]
    picture_folder(tmp_path)
    source = tmp_path / "train" / "pear" / ("0.png" if kind == "file" else "")
    try:
        source.rename(source.parent / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    with pytest.raises(UserError) as caught:
        split_folders(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_class_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture_folder(tmp_path)
    scan = os.scandir

    def refuse(folder: Path) -> Any:
        if Path(folder).name == "pear":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"train/pear: cannot be read \(Permission denied\)$"):
        split_folders(tmp_path)


@pytest.mark.parametrize("folder", ["train", "train/pear"])
def test_a_folder_without_permissions_is_named(tmp_path: Path, folder: str) -> None:
    picture_folder(tmp_path)
    (tmp_path / folder).chmod(0)
    try:
        if os.access(tmp_path / folder, os.R_OK):
            pytest.skip("this user may read every folder")
        with pytest.raises(UserError, match=f"{folder}.*: cannot be read"):
            split_folders(tmp_path)
    finally:
        (tmp_path / folder).chmod(0o755)


def test_files_that_are_not_images_are_passed_over(tmp_path: Path) -> None:
    picture_folder(tmp_path)
    before = split_folders(tmp_path)
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / "train" / "pear" / name).touch()
    assert split_folders(tmp_path) == before


def one_level(root: Path, count: int = 20) -> Path:
    for name in ("a", "b"):
        for i in range(count):
            picture(root / name / f"{i}.png", i)
    return root


def test_a_folder_of_classes_alone_is_split_in_each_class(tmp_path: Path) -> None:
    train, test, names = class_folders(one_level(tmp_path))
    assert names == ["a", "b"]
    assert np.bincount(test.labels).tolist() == [4, 4]
    assert np.bincount(train.labels).tolist() == [16, 16]
    assert sorted(train.names + test.names) == sorted(f"{k}/{i}.png" for k in "ab" for i in range(20))


def test_the_split_of_a_folder_follows_from_its_file_names(tmp_path: Path) -> None:
    tests = [class_folders(one_level(tmp_path / name))[1].names for name in ("here", "there")]
    assert tests[0] == tests[1]


def test_a_new_image_moves_few_others_between_the_parts(tmp_path: Path) -> None:
    before = set(class_folders(one_level(tmp_path))[1].names)
    picture(tmp_path / "a" / "new.png", 0)
    assert len(before - set(class_folders(tmp_path)[1].names)) <= 1


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    one_level(tmp_path)
    picture(tmp_path / "c" / "0.png", 0)
    with pytest.raises(UserError, match=r"/c: has 1 image"):
        class_folders(tmp_path)


def test_a_folder_of_classes_alone_can_be_loaded(tmp_path: Path) -> None:
    dataset = loaded(folder_config(one_level(tmp_path / "mine")), tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (32, 8)


def test_imagenette_is_taken_out_of_a_larger_folder_in_its_own_order(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for i, wnid in enumerate((*sources.IMAGENETTE, "n09999999")):
            picture(tmp_path / "imagenet" / part / wnid / "0.JPEG", i, (20, 16))
    dataset = loaded(named_config("imagenette", smallest_class=0, resolution=16), tmp_path)
    assert dataset.class_names[:2] == ["tench", "English springer"]
    assert dataset.train.labels.tolist() == list(range(10))


def cifar_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Python batches of CIFAR-10 with one image of each class a batch, whose digests torchvision is told."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0).integers(0, 256, (60, 3072), np.uint8)
    digests = {}

    def write(name: str, content: dict[str, object]) -> None:
        (folder / name).write_bytes(pickle.dumps(content))
        digests[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()

    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, rows in zip(names, draws.reshape(6, 10, 3072), strict=True):
        write(name, {"data": rows, "labels": list(range(10))})
    write("batches.meta", {"label_names": [f"class {k}" for k in range(10)]})
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [[name, digests[name]] for name in names[:5]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": digests["batches.meta"]})
    return draws


def test_the_python_batches_of_cifar_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = cifar_folder(tmp_path, monkeypatch)
    dataset = loaded(named_config("cifar10", smallest_class=0), tmp_path)
    assert dataset.class_names[3] == "class 3"
    assert dataset.train.labels.tolist() == list(range(10)) * 5
    pixels = torch.cat([next(split.pixels(100)) for split in (dataset.train, dataset.test)])
    assert torch.equal(pixels, torch.from_numpy(draws).view(60, 3, 32, 32))


def test_altered_batches_of_cifar_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar_folder(tmp_path, monkeypatch)
    with (tmp_path / "cifar-10-batches-py" / "data_batch_2").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="cifar-10-batches-py: incomplete or altered"):
        loaded(named_config("cifar10"), tmp_path)


@pytest.mark.parametrize("kind", ["images", "files"])
def test_selecting_classes_keeps_their_order_within_the_list(kind: str) -> None:
    labels = [0, 1, 2, 0, 1, 2]
    whole: Images | FileList = (
        Images(torch.arange(6).view(6, 1, 1, 1).byte(), torch.tensor(labels))
        if kind == "images"
        else FileList(Path(), list("012345"), list(range(10, 16)), list(range(20, 26)), labels)
    )
    part = whole.only([2, 1])
    assert torch.as_tensor(part.labels).tolist() == [1, 0, 1, 0]
    if isinstance(part, Images):
        assert part.images.flatten().tolist() == [1, 2, 4, 5]
    else:
        assert (part.names, part.sizes, part.mtimes) == (list("1245"), [11, 12, 14, 15], [21, 22, 24, 25])
