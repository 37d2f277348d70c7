"""Files to arrays: every image whole, of one size, in order; a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from torchvision.transforms import v2

from distill_bench.data import decode as module
from distill_bench.data.decode import Shape, decode, decode_all, decode_files
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
    np.testing.assert_array_equal(decode_all("decode", paths, Shape(3, 8)), decode_files(paths, Shape(3, 8)))


def test_a_wrong_file_is_named_from_a_worker_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(module, "cpus", lambda: 2)
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.png"):
        decode_all("decode", [str(tmp_path / "page.png")], Shape(3, 8))


def grey16(path: Path, values: np.ndarray, big_endian: bool = False) -> None:
    """Write uint16 values as a grey image of 16 bits."""
    Image.fromarray(values.astype(">u2" if big_endian else "<u2")).save(path)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "big-endian.tiff", "a.pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, name: str, channels: int) -> None:
    values = np.arange(0, 65536).reshape(256, 256)
    grey16(tmp_path / name, values, big_endian=name.startswith("big"))
    pixels = decode(str(tmp_path / name), Shape(channels, 256))
    for channel in pixels:
        np.testing.assert_array_equal(channel, np.round(values / 257))


def test_dim_16_bit_grey_has_the_mean_of_its_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (32, 32))  # 12 bits in 16
    grey16(tmp_path / "dim.png", values)
    pixels = decode(str(tmp_path / "dim.png"), Shape(3, 32))
    assert pixels.max() == 16
    assert abs(pixels.mean() - values.mean() / 257) < 0.1


TOO_DEEP = {
    "floating-point numbers": (np.float32, 0.5, "floating-point numbers (mode F)"),
    "32 bits": (np.int32, 70000, "integers beyond 16 bits (mode I"),
    "32 bits of small values": (np.int32, 7, "integers beyond 16 bits (mode I"),
}


@pytest.mark.parametrize("case", TOO_DEEP)
def test_an_image_of_more_than_16_bits_is_refused_by_name(tmp_path: Path, case: str) -> None:
    kind, value, words = TOO_DEEP[case]
    Image.fromarray(np.full((9, 9), value, kind)).save(tmp_path / "deep.tiff")
    with pytest.raises(UserError) as caught:
        decode(str(tmp_path / "deep.tiff"), Shape(3, 8))
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'deep.tiff'}: holds {words}")
    assert line.endswith("8-bit images and 16-bit grey are allowed")
    assert "\n" not in line


TURNS = {  # how the stored pixels differ from the upright ones, for each EXIF orientation
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp"])
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path: Path, orientation: int, name: str) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    image.save(tmp_path / name, exif=exif, lossless=True)
    pixels = decode(str(tmp_path / name), Shape(3, 8))
    np.testing.assert_array_equal(pixels, upright.transpose(2, 0, 1))


def test_a_photograph_lying_on_its_side_is_turned_before_it_is_cropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "side.jpg", exif=exif)
    with pytest.raises(UserError, match="is 20x40 pixels"):
        decode(str(tmp_path / "side.jpg"), Shape(3, 8, native=8))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\1", b"nonsense"]
)
@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning")
def test_an_image_whose_exif_is_damaged_is_read_as_it_lies(tmp_path: Path, exif: bytes) -> None:
    image = Image.effect_noise((8, 8), 90).convert("RGB")
    image.save(tmp_path / "plain.jpg")
    image.save(tmp_path / "damaged.jpg", exif=exif)
    plain, damaged = (decode(str(tmp_path / f"{name}.jpg"), Shape(3, 8)) for name in ("plain", "damaged"))
    np.testing.assert_array_equal(damaged, plain)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_blended_over_white(tmp_path: Path, mode: str, channels: int) -> None:
    values = np.zeros((8, 8, len(mode)), np.uint8)  # black below
    values[..., -1] = 255
    values[:4, :, -1] = 0
    values[4, :, -1] = 51
    Image.fromarray(values, mode).save(tmp_path / "a.png")
    pixels = decode(str(tmp_path / "a.png"), Shape(channels, 8))
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4] == 204).all()
    assert (pixels[:, 5:] == 0).all()


def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(1, (0, 0, 8, 4))
    image.save(tmp_path / "a.gif", transparency=0)
    pixels = decode(str(tmp_path / "a.gif"), Shape(3, 8))
    assert (pixels[:, 4:] == 255).all()
    assert (pixels[:, :4] == np.array([40, 50, 60])[:, None, None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_opaque_upright_image_is_what_pillow_converts_it_to(
    tmp_path: Path, mode: str, channels: int
) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    colour = Image.merge("RGB", [Image.effect_noise((8, 8), 90) for _ in range(3)])
    colour.convert(mode).save(tmp_path / name)
    with Image.open(tmp_path / name) as file:
        reference = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    pixels = decode(str(tmp_path / name), Shape(channels, 8))
    np.testing.assert_array_equal(pixels, np.atleast_3d(reference).transpose(2, 0, 1))
