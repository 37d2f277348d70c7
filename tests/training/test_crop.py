"""Laws of crops, colours and CutMix: what they do follows from the random numbers given to them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop

from distill_bench.data import Normalise
from distill_bench.seeding import generator
from distill_bench.training import crop
from distill_bench.training.cutmix import Mix, cutmix, draw_mix

TRANSFORM = Normalise([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])


def images(count: int, channels: int = 3, size: int = 12) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=generator(0, "images"))


def augmentation(
    area: float = 0.5, flip: bool = True, jitter: float = 0.4, lighting: float = 0.1
) -> crop.CropAugmentation:
    return crop.CropAugmentation(TRANSFORM, area, flip, jitter, lighting)


def test_a_resized_crop_is_the_interpolation_of_the_box_alone() -> None:
    x = images(4)
    corner, size = (
        torch.tensor([[0, 0], [3, 5], [2, 1], [6, 6]]),
        torch.tensor([[12, 12], [9, 7], [1, 4], [6, 5]]),
    )
    flipped = torch.tensor([False, False, True, True])
    found = crop.resized_crop(x, corner, size, flipped)
    for i, ((top, left), (high, wide)) in enumerate(zip(corner.tolist(), size.tolist(), strict=True)):
        box = x[i : i + 1, :, top : top + high, left : left + wide]
        expected = F.interpolate(box, (12, 12), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found[i], expected.flip(-1) if flipped[i] else expected, atol=1e-5, rtol=0)


def test_boxes_lie_inside_with_areas_and_ratios_as_asked() -> None:
    draws = generator(0, "boxes")
    corner, size = crop.box_of(
        torch.rand(5000, 10, 2, generator=draws), torch.rand(5000, 2, generator=draws), 0.5, (64, 64)
    )
    assert (corner >= 0).all() and (corner + size <= 64).all()
    shares, ratios = size.prod(1) / 64**2, size[:, 1] / size[:, 0]
    assert 0.48 < float(shares.min()) < 0.52 and float(shares.max()) > 0.97
    assert 0.7 < float(ratios.min()) < 0.8 and 1.25 < float(ratios.max()) < 1.4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = torch.zeros(1, 64, 64)
        theirs = [RandomResizedCrop.get_params(blank, [0.5, 1.0], [3 / 4, 4 / 3]) for _ in range(5000)]
    expected = torch.tensor([[high, wide] for _, _, high, wide in theirs]).double()
    torch.testing.assert_close(size.double().mean(0), expected.mean(0), atol=0.5, rtol=0)
    torch.testing.assert_close(size.double().std(0), expected.std(0), atol=0.3, rtol=0)


def test_a_crop_of_the_whole_image_changes_nothing() -> None:
    x, quiet = images(5), augmentation(area=1.0, flip=False, jitter=0, lighting=0)
    assert torch.equal(quiet(x, quiet.draw(5, generator(1, "crop"))), x)
    flips = augmentation(area=1.0, jitter=0, lighting=0)
    found = flips(x, flips.draw(5, generator(1, "crop")))
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(found, x, strict=True)]
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(found, x, strict=True)]
    assert any(mirrored) and any(same) and all(a != b for a, b in zip(mirrored, same, strict=True))


@pytest.mark.parametrize("order", range(6))
def test_jitter_in_one_pass_equals_its_three_steps_in_their_order(order: int) -> None:
    x = images(3).double()
    factors = torch.tensor([[0.7, 1.3, 0.6], [1.4, 0.8, 1.2], [1.0, 1.0, 1.0]], dtype=torch.float64)
    found = crop.jitter(x, factors, torch.full((3,), (order + 0.5) / 6, dtype=torch.float64))
    weights = torch.tensor(crop.GREY, dtype=torch.float64).view(3, 1, 1)
    grey = lambda y: (y * weights).sum(1, keepdim=True)  # noqa: E731
    for kind in list(itertools.permutations(range(3)))[order]:
        f = factors[:, kind].view(-1, 1, 1, 1)
        base = [torch.zeros_like(x), grey(x).mean((2, 3), keepdim=True), grey(x)][kind]
        x = f * x + (1 - f) * base
    torch.testing.assert_close(found, x)


def test_lighting_moves_along_the_principal_colours_alone() -> None:
    x, vectors = images(1), torch.tensor(crop.EIGENVECTORS)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=2e-3, rtol=0)
    moved = crop.lighting(x, torch.tensor([[0.0, 2.0, 0.0]])) - x
    torch.testing.assert_close(moved[0, :, 3, 4], 2 * 0.0188 * vectors[:, 1], atol=1e-6, rtol=0)


def test_colours_are_changed_between_zero_and_one_of_three_channels_only() -> None:
    flat = augmentation(area=1.0, flip=False, jitter=0.4, lighting=0)
    black = TRANSFORM.forward_unit(torch.zeros(4, 3, 8, 8))
    torch.testing.assert_close(flat(black, flat.draw(4, generator(0, "jitter"))), black)  # black stays black
    grey = images(4, channels=1)
    assert torch.equal(flat(grey, flat.draw(4, generator(0, "jitter"))), grey)
    colour = images(4)
    assert not torch.allclose(flat(colour, flat.draw(4, generator(0, "jitter"))), colour, atol=1e-2)


def test_an_images_augmentation_does_not_depend_on_its_batch() -> None:
    x, whole = images(6), augmentation()
    random = whole.draw(6, generator(2, "crop"))
    torch.testing.assert_close(whole(x[2:3], random[2:3])[0], whole(x, random)[2], atol=1e-5, rtol=0)


def test_the_share_kept_is_the_area_that_is_not_pasted_over() -> None:
    for number in range(200):
        shape = (16, 16)
        mix = draw_mix(5, shape, generator(number, "mix"))
        own, other = torch.zeros(1, 1, 1, *shape), torch.ones(1, 1, 1, *shape)
        pair = Mix(torch.tensor([1, 0]), mix.box)
        mixed, _, kept = cutmix(torch.cat([own, other], 1), [pair])
        assert float(mixed[0, 0].mean()) == pytest.approx(1 - float(kept[0]))
        assert float(mixed[0, 1].mean()) == pytest.approx(float(kept[0]))
        assert 0 <= float(kept[0]) <= 1


def test_a_box_that_is_not_cut_off_has_the_share_that_was_drawn() -> None:
    share, row, column = torch.rand(3, generator=generator(7, "mix"), dtype=torch.float64).tolist()
    mix = draw_mix(3, (1000, 1000), generator(7, "mix"))
    top, bottom, left, right = mix.box
    side = 1000 * math.sqrt(1 - share)
    assert bottom <= int(1000 * row) + side / 2 and right <= int(1000 * column) + side / 2
    whole = top > 0 and bottom < 1000 and left > 0 and right < 1000
    assert (mix.share((1000, 1000)) == pytest.approx(share, abs=5e-3)) or not whole
    assert mix.share((1000, 1000)) >= share - 5e-3  # the borders only ever make the box smaller


def test_each_network_mixes_its_own_batch() -> None:
    x = images(6).unflatten(0, (2, 3))
    mixes = [Mix(torch.tensor([1, 2, 0]), (0, 12, 0, 12)), Mix(torch.tensor([2, 0, 1]), (0, 0, 0, 0))]
    mixed, partners, kept = cutmix(x, mixes)
    assert torch.equal(mixed[0], x[0][[1, 2, 0]]) and torch.equal(mixed[1], x[1])
    assert kept.tolist() == [0, 1]
    assert partners.tolist() == [[1, 2, 0], [2, 0, 1]]
