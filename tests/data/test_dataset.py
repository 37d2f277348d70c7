"""Loading: decoded once, relabelled, fingerprinted; what is wrong is named in one line."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench import data
from distill_bench.data import dataset as module
from distill_bench.data.source_images import Images
from distill_bench.errors import UserError
from distill_bench.groups import DatasetConfig
from tests.data.pictures import CLASSES, folder_config, loaded, named_config, picture, picture_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return picture_folder(tmp_path / "pictures")


def everything(split: data.Split) -> torch.Tensor:
    return split.images(torch.arange(len(split)))


def test_a_folder_has_its_classes_counts_and_shape(folder: Path, tmp_path: Path) -> None:
    dataset = loaded(folder_config(folder), tmp_path)
    assert dataset.class_names == list(CLASSES)
    assert dataset.num_classes == 3
    assert dataset.train.class_counts.tolist() == [6, 4, 5]
    assert dataset.test.class_counts.tolist() == [2, 2, 2]
    assert everything(dataset.train).shape == (15, 3, 8, 8)


def test_statistics_that_are_not_given_are_those_of_the_training_pixels(folder: Path, tmp_path: Path) -> None:
    images = everything(loaded(folder_config(folder), tmp_path).train)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_statistics_of_streamed_images_are_the_same(folder: Path, tmp_path: Path) -> None:
    resident, streamed = (loaded(folder_config(folder, streamed=s), tmp_path) for s in (False, True))
    assert torch.equal(everything(resident.train), everything(streamed.train))


def test_images_are_decoded_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(folder_config(folder), tmp_path)
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    monkeypatch.setattr(module, "decode_all", lambda *_: pytest.fail("decoded again"))
    second = loaded(folder_config(folder), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")} == cached
    assert torch.equal(everything(first.train), everything(second.train))


def test_moving_the_folder_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loaded(folder_config(folder), tmp_path)
    folder.rename(tmp_path / "moved")
    monkeypatch.setattr(module, "decode_all", lambda *_: pytest.fail("decoded again"))
    assert loaded(folder_config(tmp_path / "moved"), tmp_path).fingerprint == before.fingerprint


def test_the_same_content_has_the_same_fingerprint(folder: Path, tmp_path: Path) -> None:
    fingerprints = {loaded(folder_config(folder), tmp_path / name).fingerprint for name in ("a", "b")}
    assert len(fingerprints) == 1


CHANGES: dict[str, dict[str, Any]] = {
    "another resolution": {"resolution": 9},
    "grey": {"channels": 1},
    "fewer classes": {"classes": [0, 1]},
    "another order of classes": {"classes": [0, 2, 1]},
    "another normalisation": {"mean": [0.1] * 3, "std": [0.2] * 3},
    "whitening": {"zca": True},
    "shuffled labels": {"shuffled_labels": True},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_what_networks_see_changes_the_fingerprint(
    folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    plain = loaded(folder_config(folder), tmp_path)
    assert loaded(folder_config(folder, **changes), tmp_path).fingerprint != plain.fingerprint


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("streamed", [False, True], ids=["resident", "streamed"])
def test_an_added_image_changes_the_fingerprint(
    folder: Path, tmp_path: Path, part: str, streamed: bool
) -> None:
    config = folder_config(folder, streamed=streamed, mean=[0.5] * 3, std=[0.5] * 3)
    before = loaded(config, tmp_path).fingerprint
    picture(folder / part / "plum" / "new.png", 99)
    assert loaded(config, tmp_path).fingerprint != before


def test_a_changed_image_changes_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    before = loaded(folder_config(folder), tmp_path).fingerprint
    picture(folder / "train" / "plum" / "0.png", 99, (30, 30))
    assert loaded(folder_config(folder), tmp_path).fingerprint != before


def bitmaps(root: Path, seed: int) -> None:
    """Pictures of one size as .bmp: files of the same length, whatever their pixels are."""
    for part in ("train", "test"):
        for k, name in enumerate(CLASSES):
            for i in range(2):
                picture(root / part / name / f"{i}.bmp", 100 * seed + 10 * k + i, (8, 8))


@pytest.mark.parametrize("streamed", [False, True], ids=["resident", "streamed"])
def test_files_replaced_by_others_of_the_same_size_are_decoded_again(tmp_path: Path, streamed: bool) -> None:
    config = folder_config(tmp_path / "mine", streamed=streamed)
    bitmaps(tmp_path / "mine", seed=0)
    before = loaded(config, tmp_path)
    images = everything(before.train)
    bitmaps(tmp_path / "mine", seed=1)
    after, fresh = loaded(config, tmp_path), loaded(config, tmp_path / "fresh")
    assert not torch.equal(everything(after.train), images)
    assert torch.equal(everything(after.train), everything(fresh.train))
    assert after.fingerprint == fresh.fingerprint != before.fingerprint


def test_a_copy_of_the_folder_has_the_same_fingerprints(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    for streamed in (False, True):
        original, copy = (
            loaded(folder_config(root, streamed=streamed), tmp_path) for root in (folder, tmp_path / "copy")
        )
        assert copy.fingerprint == original.fingerprint
        assert copy.pixel_fingerprint == original.pixel_fingerprint


@pytest.mark.parametrize("case", CHANGES)
def test_the_pixel_fingerprint_changes_with_all_but_the_transform(
    folder: Path, tmp_path: Path, case: str
) -> None:
    plain, other = (loaded(folder_config(folder, **c), tmp_path) for c in ({}, CHANGES[case]))
    same = case in ("another normalisation", "whitening")
    assert (other.pixel_fingerprint == plain.pixel_fingerprint) == same


def test_the_fingerprint_of_the_digits_is_as_it_was(tmp_path: Path) -> None:
    assert loaded(named_config("digits"), tmp_path).fingerprint == "1ba542745a64d07e"


def test_images_of_a_fixed_size_are_scaled_down_and_never_up() -> None:
    whole = torch.stack([torch.full((1, 28, 28), 10 * k, dtype=torch.uint8) for k in range(3)])
    whole[0, :, ::2] = 250  # rows that alternate: their mean is 130 where no border is near
    part = Images(whole, torch.arange(3))
    smaller = module._scaled(part, 14)
    assert smaller.images.shape == (3, 1, 14, 14) and smaller.images.dtype == torch.uint8
    assert torch.equal(smaller.images[1:], whole[1:, :, ::2, ::2])
    assert (smaller.images[0, 0, 1:-1].int() - 125).abs().max() <= 6
    assert module._scaled(part, 28) is part


def test_selected_classes_are_relabelled_in_their_order(folder: Path, tmp_path: Path) -> None:
    config = {"mean": [0.5] * 3, "std": [0.5] * 3}
    whole, part = (loaded(folder_config(folder, classes=c, **config), tmp_path) for c in ([], [2, 0]))
    assert part.class_names == ["plum", "apple"]
    assert part.num_classes == 2
    for new, old in enumerate([2, 0]):
        images = part.test.images((part.test.labels == new).nonzero().flatten())
        assert torch.equal(images, whole.test.images((whole.test.labels == old).nonzero().flatten()))


def test_selected_classes_of_digits_are_relabelled() -> None:
    whole, part = (loaded(named_config("digits", classes=c), Path("unused")) for c in ([], [7, 1]))
    images = part.train.images((part.train.labels == 0).nonzero().flatten())
    assert torch.equal(images, whole.train.images((whole.train.labels == 7).nonzero().flatten()))


def test_shuffled_labels_keep_counts_and_images_and_leave_the_test_part_alone() -> None:
    plain, shuffled = (
        loaded(named_config("digits", shuffled_labels=s), Path("unused")) for s in (False, True)
    )
    assert torch.equal(plain.train.class_counts, shuffled.train.class_counts)
    assert torch.equal(everything(plain.train), everything(shuffled.train))
    assert torch.equal(plain.test.labels, shuffled.test.labels)
    agreement = (plain.train.labels == shuffled.train.labels).float().mean()
    assert 0.05 < agreement < 0.15  # one in ten, by chance


def test_whitening_is_fitted_on_the_training_images_and_once(folder: Path, tmp_path: Path) -> None:
    dataset = loaded(folder_config(folder, zca=True), tmp_path)
    pixels = next(dataset.train.pixels(100))
    assert isinstance(dataset.transform, data.Whiten)
    torch.testing.assert_close(dataset.transform.matrix, data.fit_zca(pixels)["matrix"])
    (file,) = (tmp_path / "cache" / "zca").glob("*.safetensors")
    time = file.stat().st_mtime_ns
    loaded(folder_config(folder, zca=True), tmp_path)
    assert file.stat().st_mtime_ns == time


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another number of classes": ({"num_classes": 4}, "dataset.num_classes=4: must be 3"),
    "a class that is not there": ({"classes": [0, 3]}, "from 0 to 2"),
    "one class left": ({"classes": [1]}, "two classes or more"),
    "missing training images": ({"smallest_class": 5}, "class pear has 4 training images, not 5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_config_says_must_be_what_is_there(folder: Path, tmp_path: Path, case: str) -> None:
    changes, words = WRONG[case]
    with pytest.raises(UserError) as caught:
        loaded(folder_config(folder, **changes), tmp_path)
    assert words in str(caught.value)


def test_a_truncated_image_is_named_and_nothing_is_cached(folder: Path, tmp_path: Path) -> None:
    path = folder / "train" / "apple" / "0.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UserError, match=r"apple/0\.jpg: not a whole image"):
        loaded(folder_config(folder), tmp_path)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_channel_that_is_constant_is_named(tmp_path: Path) -> None:
    from PIL import Image

    for place in ("train/a", "train/b", "test/a", "test/b"):
        path = tmp_path / "black" / place / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(UserError, match="constant"):
        loaded(folder_config(tmp_path / "black"), tmp_path)


def test_digits_are_the_default_and_need_no_files(tmp_path: Path) -> None:
    dataset = loaded(DatasetConfig(), tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (1200, 597)
    assert everything(dataset.train).shape == (1200, 1, 8, 8)


def test_a_folder_of_one_class_is_refused(folder: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("pear", "plum"):
            shutil.rmtree(folder / part / name)
    with pytest.raises(UserError, match=r"^dataset=imagefolder: holds one class; a classifier needs two$"):
        loaded(folder_config(folder), tmp_path)


def test_without_a_folder_nothing_else_is_looked_through() -> None:
    assert folder_config(Path()).inputs() == {"folder": "."}
    assert not replace(folder_config(Path()), folder="").inputs()
