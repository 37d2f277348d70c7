"""Files to arrays: every image whole, of one size, in order; a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from distill_bench.data import decode as module
from distill_bench.data.decode import Shape, decode, decode_all, decode_some
from distill_bench.errors import UserError
from tests.data.pictures import picture

SIZES = {"wide": (31, 16), "tall": (15, 40), "square": (20, 20), "smaller": (5, 6), "already so": (8, 8)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_it_is_resize_then_centre_crop_of_torchvision(tmp_path: Path, size: tuple[int, int]) -> None:
    picture(tmp_path / "a.png", 0, size)
    reference = v2.Compose([v2.Resize(8), v2.CenterCrop(8)])(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(
        decode(str(tmp_path / "a.png"), Shape(3, 8)), np.asarray(reference).transpose(2, 0, 1)
    )


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 1), ("L", 3), ("L", 1), ("RGB", 3)])
def test_colour_and_grey_become_the_channels_asked_for(tmp_path: Path, mode: str, channels: int) -> None:
    picture(tmp_path / "a.png", 0, mode=mode)
    pixels = decode(str(tmp_path / "a.png"), Shape(channels, 8))
    assert pixels.shape == (channels, 8, 8)
    if mode == "L":
        assert (pixels == pixels[:1]).all()


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    picture(path, 0, (64, 64))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match=r"cut\.jpg: not a whole image"):
        decode(str(path), Shape(3, 8))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.png: not a whole image"):
        decode(str(tmp_path / "page.png"), Shape(3, 8))


def test_an_image_of_the_wrong_shape_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "odd.png", 0, (8, 9))
    with pytest.raises(UserError, match=r"odd\.png: is 8x9 pixels; must be 8x8"):
        decode(str(tmp_path / "odd.png"), Shape(3, 8, native=8))


def test_worker_processes_decode_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(tmp_path / f"{i}.png") for i in range(7)]
    for i, path in enumerate(paths):
        picture(Path(path), i)
    monkeypatch.setattr(module, "FEW", 3)
    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "cpus", lambda: 2)
    np.testing.assert_array_equal(decode_all("decode", paths, Shape(3, 8)), decode_some(paths, Shape(3, 8)))


def test_a_wrong_file_is_named_from_a_worker_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(module, "cpus", lambda: 2)
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.png"):
        decode_all("decode", [str(tmp_path / "page.png")], Shape(3, 8))
