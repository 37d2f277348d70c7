"""Laws of padded crops: torchvision's on the same draws, in pixels, and what depends on nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from distill_bench.data import Normalise
from distill_bench.groups import Augmentation
from distill_bench.seeding import generator
from distill_bench.training.pad_crop import PadCrop
from tests.training.build import batches, recipe

TRANSFORM = Normalise([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])


def pixels(count: int = 40, height: int = 12, width: int = 12) -> Tensor:
    shape = (count, 3, height, width)
    return torch.randint(1, 256, shape, generator=generator(0, "pixels")).to(torch.uint8)


def theirs(image_CHW: Tensor, row: Tensor, pad: int, flip: bool, rotation: float) -> Tensor:
    """torchvision on the pixels, by the same draws, normalised at the end."""
    height, width = image_CHW.shape[-2:]
    top, left = (int(float(u) * (2 * pad + 1)) for u in row[:2])
    image = TF.crop(TF.pad(image_CHW, [pad] * 4), top, left, height, width)
    image = TF.hflip(image) if flip and row[2] < 0.5 else image
    if rotation:
        angle = rotation * (2 * float(row[3]) - 1)
        image = TF.rotate(image, angle, InterpolationMode.NEAREST)
    return TRANSFORM.forward(image[None])[0]


@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize("flip", [True, False], ids=["flip", "no flip"])
@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 14)])
def test_a_crop_is_torchvisions_bit_for_bit(pad: int, flip: bool, height: int, width: int) -> None:
    images, ours = pixels(40, height, width), PadCrop(TRANSFORM, pad, flip, 0.0)
    random = ours.draw(len(images), generator(1, "draws"))
    found = ours(TRANSFORM.forward(images), random)
    for image, row, result in zip(images, random, found, strict=True):
        assert torch.equal(result, theirs(image, row, pad, flip, 0.0))


@pytest.mark.parametrize("rotation", [15.0, 90.0])
def test_a_rotation_is_torchvisions_but_where_two_pixels_are_as_near(rotation: float) -> None:
    images, ours = pixels(), PadCrop(TRANSFORM, 4, True, rotation)
    random = ours.draw(len(images), generator(2, "draws"))
    found = ours(TRANSFORM.forward(images), random)
    expected = torch.stack([theirs(*pair, 4, True, rotation) for pair in zip(images, random, strict=True)])
    assert float((found == expected).all(1).double().mean()) > 0.999


def test_a_quarter_turn_turns_counter_clockwise() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4) + 1
    quarter = torch.tensor([[0.5, 0.5, 0.9, 1.0]])
    assert torch.equal(PadCrop(None, 0, True, 90.0)(image, quarter), image.rot90(1, (2, 3)))


def test_the_border_is_black_pixels_whatever_the_normalisation() -> None:
    corner = torch.tensor([[0.0, 0.0, 0.9, 0.5]])
    image = TRANSFORM.forward(pixels(1))
    found = TRANSFORM.inverse(PadCrop(TRANSFORM, 4, False, 0.0)(image, corner))
    torch.testing.assert_close(found[..., :4, :], torch.zeros(1, 3, 4, 12), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[..., :, :4], torch.zeros(1, 3, 12, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[..., 4:, 4:], TRANSFORM.inverse(image)[..., :8, :8])


class Tilted(Normalise):
    """A transform whose black depends on the place, as that of whitened images does."""

    def forward_unit(self, images_NCHW: Tensor) -> Tensor:
        return super().forward_unit(images_NCHW) + torch.linspace(0, 1, images_NCHW.shape[-1])


def test_where_black_depends_on_the_place_the_border_is_black_there() -> None:
    tilted = Tilted([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    black = tilted.forward_unit(torch.zeros(1, 3, 12, 12))
    ours = PadCrop(tilted, 4, True, 15.0)
    random = ours.draw(30, generator(3, "draws"))
    torch.testing.assert_close(ours(black.repeat(30, 1, 1, 1), random), black.repeat(30, 1, 1, 1))


def test_every_offset_is_as_likely_and_half_are_mirrored() -> None:
    ours = PadCrop(None, 1, True, 0.0)
    image = torch.arange(25.0).view(1, 1, 5, 5) + 1
    random = ours.draw(9000, generator(4, "draws"))
    found = ours(image.expand(9000, -1, -1, -1), random)
    middles, counts = found[:, 0, 2, 2].unique(return_counts=True)
    assert middles.tolist() == [7, 8, 9, 12, 13, 14, 17, 18, 19]
    assert bool((counts > 850).all()) and bool((counts < 1150).all())
    mirrored = found[:, 0, 2, 1] > found[:, 0, 2, 2]
    assert float(mirrored.double().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("families", "flips"), [("crop_flip", True), ("crop_rotate", False)])
def test_images_are_mirrored_only_where_the_data_sets_labels_allow_it(families: str, flips: bool) -> None:
    asked = recipe(augment=True, augmentation=Augmentation.pad_crop)
    source = batches(asked, families=families)
    assert isinstance(source.crop, PadCrop)
    assert source.crop.flip is flips


def test_what_happens_to_an_image_does_not_depend_on_the_others() -> None:
    ours = PadCrop(TRANSFORM, 2, True, 20.0)
    images = TRANSFORM.forward(pixels(6))
    random = ours.draw(6, generator(5, "draws"))
    together = ours(images, random)
    for i in range(6):
        assert torch.equal(ours(images[i : i + 1], random[i : i + 1])[0], together[i])
