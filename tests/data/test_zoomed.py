"""The zoom of test images: Pillow's pixels, the sizes of RDED's code, and a split of the same face."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from distill_bench.data import Normalise, ResidentSplit, ZoomedSplit, enlarged_side, zoom
from distill_bench.seeding import generator


def pictures(side: int, count: int = 3) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, side, side), generator=generator(0, "pictures"), dtype=torch.uint8
    )


def test_sides_are_those_of_the_papers_sets() -> None:
    assert [enlarged_side(side) for side in (224, 128, 64, 32, 28, 8)] == [256, 144, 72, 32, 32, 8]
    assert all(enlarged_side(side) >= side for side in range(1, 300))


@pytest.mark.parametrize("side", [64, 28, 128])
def test_pixels_are_pillows_resized_and_cropped_up_to_a_level(side: int) -> None:
    images, large = pictures(side), enlarged_side(side)
    edge = (large - side) // 2
    for image, zoomed in zip(images, zoom(images), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        resized = picture.resize((large, large), Image.Resampling.BILINEAR)
        wanted = np.asarray(resized.crop((edge, edge, edge + side, edge + side)), dtype=int)
        assert np.abs(zoomed.permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 1


def test_a_constant_image_stays_and_the_rim_is_lost() -> None:
    flat = torch.full((1, 3, 64, 64), 77, dtype=torch.uint8)
    assert torch.equal(zoom(flat), flat)
    rim = flat.clone()
    rim[..., :3, :] = rim[..., -3:, :] = 255
    assert torch.equal(zoom(rim), flat)  # 3.6 pixels are lost on each side, and a pixel is a mean of two


def test_images_of_thirty_two_pixels_are_unchanged() -> None:
    images = pictures(32)
    assert torch.equal(zoom(images), images)


def test_a_zoomed_split_has_one_face_whatever_is_asked() -> None:
    images, labels = pictures(64, 7), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    split = ZoomedSplit(ResidentSplit(images, labels, 3, Normalise([0.5] * 3, [0.2] * 3)))
    indices = torch.arange(7)
    assert torch.equal(split.pixels_at(indices), zoom(images))
    assert torch.equal(torch.cat(list(split.pixels(3))), zoom(images))
    batches = list(split.batches(3))
    assert torch.equal(torch.cat([batch for batch, _ in batches]), split.images(indices))
    assert torch.equal(torch.cat([batch for _, batch in batches]), labels)
    assert torch.equal(split.unit(indices) * 255, zoom(images).float())
