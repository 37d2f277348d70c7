"""The stamp of a folder of images: it changes with the files, and with nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_bench.data.stamp import stamp
from distill_bench.errors import UserError
from tests.data.pictures import folder_config, named_config, picture, picture_folder, replace_same_size

CHANGES: dict[str, Callable[[Path], object]] = {
    "an image is added": lambda root: picture(root / "train" / "plum" / "new.png", 99),
    "an image is removed": lambda root: (root / "test" / "plum" / "1.png").unlink(),
    "an image is renamed": lambda root: (root / "train" / "plum" / "1.png").rename(root / "train/plum/z.png"),
    "an image moves to another class": lambda root: (root / "train/plum/1.png").rename(
        root / "train/pear/z.png"
    ),
    "an image is replaced by one of its size": lambda root: replace_same_size(root / "train/plum/1.png"),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("test_part", [True, False], ids=["with a test part", "classes alone"])
def test_a_change_of_the_images_changes_the_stamp(tmp_path: Path, case: str, test_part: bool) -> None:
    root = picture_folder(tmp_path / "mine")
    config = folder_config(root if test_part else root / "train")
    if not test_part and case == "an image is removed":
        pytest.skip("the image is in the test part")
    before = stamp(config, tmp_path)
    assert stamp(config, tmp_path) == before
    CHANGES[case](root)
    assert stamp(config, tmp_path) != before


def test_the_stamp_moves_with_the_folder(tmp_path: Path) -> None:
    before = stamp(folder_config(picture_folder(tmp_path / "here")), tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    assert stamp(folder_config(tmp_path / "there"), tmp_path) == before


def test_files_that_are_not_images_leave_the_stamp(tmp_path: Path) -> None:
    root = picture_folder(tmp_path / "mine")
    before = stamp(folder_config(root), tmp_path)
    (root / "train" / "plum" / "notes.txt").write_text("ripe")
    os.utime(root / "train" / "plum")
    assert stamp(folder_config(root), tmp_path) == before


@pytest.mark.parametrize("name", ["digits", "cifar10", "imagenet1k"])
def test_a_source_of_fixed_content_has_no_stamp_though_its_files_are_absent(
    tmp_path: Path, name: str
) -> None:
    assert stamp(named_config(name), tmp_path) == ""


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data under"):
        stamp(folder_config(tmp_path / "nowhere"), tmp_path)
