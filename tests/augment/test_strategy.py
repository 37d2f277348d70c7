"""Laws of drawing and applying: ranges, frequencies, siamese equality, independence of grouping."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from distill_bench import augment
from distill_bench.errors import UserError
from distill_bench.seeding import generator

ALL = "color_crop_cutout_flip_scale_rotate"
DRAWS = 10_000

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "color": {"shift": (-0.5, 0.5), "saturate": (0, 2), "contrasted": (0.5, 1.5)},
    "crop": {"down": (-4, 4), "right": (-4, 4)},
    "cutout": {"row": (0, 32), "column": (0, 32)},
    "scale": {"horizontal": (1 / 1.2, 1.2), "vertical": (1 / 1.2, 1.2)},
    "rotate": {"angle": (-math.radians(15), math.radians(15))},
}


def uniforms(count: int) -> torch.Tensor:
    return torch.rand(1, count, augment.UNIFORMS, generator=generator(0, "ranges"))


@pytest.mark.parametrize("family", sorted(RANGES))
def test_parameters_fill_their_range_and_stay_within(family: str) -> None:
    found = augment.parameters(family, uniforms(DRAWS), (32, 32))
    assert found.keys() == RANGES[family].keys()
    for name, (low, high) in RANGES[family].items():
        values = found[name].double()
        assert low - 1e-6 <= float(values.min()) <= low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) <= float(values.max()) <= high + 1e-6
        middle = (low + high) / 2
        assert float(values.mean()) == pytest.approx(middle, abs=5 * (high - low) / math.sqrt(12 * DRAWS))


@pytest.mark.parametrize(("size", "reach"), [(8, 1), (28, 4), (32, 4), (64, 8)])
def test_crops_reach_an_eighth_of_the_side(size: int, reach: int) -> None:
    down = augment.parameters("crop", uniforms(DRAWS), (size, size))["down"]
    assert (int(down.min()), int(down.max())) == (-reach, reach)
    counts = torch.bincount(down.flatten() + reach).double()
    expected = DRAWS / (2 * reach + 1)
    assert float((counts - expected).abs().max()) < 4 * math.sqrt(expected)


def test_an_odd_cutout_has_its_centre_within_the_image() -> None:
    row = augment.parameters("cutout", uniforms(DRAWS), (14, 14))["row"]
    assert (int(row.min()), int(row.max())) == (0, 13)


def test_the_largest_uniform_stays_in_range() -> None:
    u = torch.full((1, 1, 3), 1 - 2**-24)
    assert int(augment.parameters("crop", u, (32, 32))["down"]) == 4
    assert int(augment.parameters("cutout", u, (32, 32))["row"]) == 32


def test_half_of_the_images_are_flipped() -> None:
    mirrored = augment.parameters("flip", uniforms(DRAWS), (32, 32))["mirrored"]
    assert float(mirrored.double().mean()) == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(DRAWS))


def test_families_are_equally_frequent() -> None:
    counts = Counter(augment.draw_families(ALL, DRAWS, generator(0, "families")))
    assert counts.keys() == set(ALL.split("_"))
    tolerance = 3 * math.sqrt(DRAWS * (1 / 6) * (5 / 6))
    assert all(abs(count - DRAWS / 6) < tolerance for count in counts.values())


@pytest.mark.parametrize("family", ALL.split("_"))
def test_equal_images_get_equal_results_in_either_batch_of_a_class(family: str) -> None:
    real = torch.randn(3, 9, 3, 32, 32, generator=generator(0, "real"))
    synthetic = torch.cat([torch.zeros(3, 1, 3, 32, 32), real[:, 4:5]], 1)
    draw = augment.Draw((family,) * 3, torch.rand(3, 1, 3, generator=generator(1, "u")))
    assert torch.equal(augment.apply(draw, real)[:, 4], augment.apply(draw, synthetic)[:, 1])


def test_classes_have_parameters_of_their_own() -> None:
    draw = augment.draw("color", 5, 1, generator(0, "draw"))
    out = augment.apply(draw, torch.ones(5, 2, 3, 8, 8))
    assert len({float(row[0, 0, 0, 0]) for row in out}) == 5
    assert torch.equal(out[:, 0], out[:, 1])


def test_images_of_a_batch_have_parameters_of_their_own() -> None:
    draw = augment.draw("color", 1, 6, generator(0, "draw"))
    out = augment.apply(draw, torch.ones(1, 6, 3, 8, 8))
    assert len({float(image[0, 0, 0]) for image in out[0]}) == 6


@pytest.mark.parametrize("per_row", [1, 4], ids=["siamese", "per image"])
def test_grouping_by_family_gives_what_each_row_gets_alone(per_row: int) -> None:
    x = torch.randn(12, 4, 3, 16, 16, generator=generator(0, "x")).requires_grad_()
    draw = augment.draw(ALL, 12, per_row, generator(2, "draw"))
    assert len(set(draw.families)) > 2
    together = augment.apply(draw, x)
    alone = torch.cat([augment.apply(draw.rows(slice(i, i + 1)), x[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(together, alone)
    weight = torch.randn(x.shape, generator=generator(3, "weight"))
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (together, alone)]
    torch.testing.assert_close(*gradients)


def test_the_same_generators_draw_the_same_and_others_do_not() -> None:
    draws = [augment.draw(ALL, 20, 3, generator(seed, "f"), generator(seed, "u")) for seed in (0, 0, 1)]
    assert draws[0].families == draws[1].families != draws[2].families
    assert torch.equal(draws[0].uniforms, draws[1].uniforms)
    assert not torch.equal(draws[0].uniforms, draws[2].uniforms)


def test_no_strategy_leaves_images_as_they_are() -> None:
    x = torch.randn(3, 2, 1, 8, 8, generator=generator(0, "x"))
    assert torch.equal(augment.apply(augment.draw("", 3, 1, generator(0, "draw")), x), x)


def test_an_unknown_family_is_an_error_with_the_closest() -> None:
    with pytest.raises(UserError, match="unknown family 'rotat'; did you mean 'rotate'"):
        augment.draw("color_rotat", 2, 1, generator(0, "draw"))
