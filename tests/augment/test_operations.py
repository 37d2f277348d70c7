"""Laws of the augmentations: identities, adjoints, and the published formulae on fixed parameters."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from distill_bench import augment
from distill_bench.augment import operations
from distill_bench.seeding import generator

R, M, C, H, W = 2, 3, 3, 8, 12


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(R, M, C, H, W, generator=generator(0, "images"), dtype=torch.float64)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator(1, "parameters"), dtype=torch.float64)


def full(value: float) -> torch.Tensor:
    return torch.full((R, 1), value, dtype=torch.float64)


def test_color_at_its_neutral_parameters_is_the_identity(x: torch.Tensor) -> None:
    assert torch.equal(augment.color(x, full(0), full(1), full(1)), x)


def test_each_part_of_color_is_the_identity_at_its_neutral_parameter(x: torch.Tensor) -> None:
    assert torch.equal(augment.brightness(x, full(0)), x)
    torch.testing.assert_close(augment.saturation(x, full(1)), x)
    torch.testing.assert_close(augment.contrast(x, full(1)), x)


def test_color_is_brightness_then_saturation_then_contrast(x: torch.Tensor) -> None:
    b, s, c = random(3, R, M).unbind(0)
    step_by_step = augment.contrast(augment.saturation(augment.brightness(x, b), s), c)
    torch.testing.assert_close(augment.color(x, b, s, c), step_by_step)


def test_saturation_keeps_each_pixels_mean_over_channels(x: torch.Tensor) -> None:
    torch.testing.assert_close(augment.saturation(x, random(R, M)).mean(2), x.mean(2))


def test_contrast_keeps_each_images_mean(x: torch.Tensor) -> None:
    torch.testing.assert_close(augment.contrast(x, random(R, M)).mean((2, 3, 4)), x.mean((2, 3, 4)))


def test_flipping_twice_is_the_identity_and_once_mirrors_columns(x: torch.Tensor) -> None:
    which = torch.tensor([[True, False, True], [False, True, False]])
    once = augment.flip(x, which)
    assert torch.equal(augment.flip(once, which), x)
    assert torch.equal(once[0, 0], x[0, 0].flip(-1))
    assert torch.equal(once[0, 1], x[0, 1])


def test_no_shift_scale_one_and_no_angle_are_identities(x: torch.Tensor) -> None:
    none = torch.zeros(R, 1, dtype=torch.long)
    assert torch.equal(augment.crop(x, none, none), x)
    torch.testing.assert_close(augment.scale(x, full(1), full(1)), x)
    torch.testing.assert_close(augment.rotate(x, full(0)), x)


def test_crop_is_the_published_padded_gather(x: torch.Tensor) -> None:
    down = torch.tensor([[0, 1, -2], [3, -8, 20]])
    right = torch.tensor([[2, -1, 0], [-3, 1, 5]])
    images = F.pad(x.flatten(0, 1), (1, 1, 1, 1)).permute(0, 2, 3, 1)
    batch, row, column = torch.meshgrid(torch.arange(R * M), torch.arange(H), torch.arange(W), indexing="ij")
    row = (row + down.reshape(-1, 1, 1) + 1).clamp(0, H + 1)
    column = (column + right.reshape(-1, 1, 1) + 1).clamp(0, W + 1)
    expected = images[batch, row, column].permute(0, 3, 1, 2).reshape(x.shape)
    assert torch.equal(augment.crop(x, down, right), expected)


@pytest.mark.parametrize("sides", [(4, 6), (3, 5)], ids=["even", "odd"])
def test_cutout_is_the_published_clamped_mask(x: torch.Tensor, sides: tuple[int, int]) -> None:
    row, column = torch.tensor([[0, 4, 7], [2, 1, 7]]), torch.tensor([[0, 11, 6], [3, 5, 1]])
    expected = x.clone()
    for r in range(R):
        for m in range(M):
            for i in range(sides[0]):
                for j in range(sides[1]):
                    down = min(max(int(row[r, m]) - sides[0] // 2 + i, 0), H - 1)
                    right = min(max(int(column[r, m]) - sides[1] // 2 + j, 0), W - 1)
                    expected[r, m, :, down, right] = 0
    assert torch.equal(augment.cutout(x, row, column, sides), expected)


def published_resample(x: torch.Tensor, theta: list[list[list[float]]]) -> torch.Tensor:
    images = x.flatten(0, 1)
    grid = F.affine_grid(torch.tensor(theta, dtype=x.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).reshape(
        x.shape
    )


def test_scale_resamples_with_the_published_matrices(x: torch.Tensor) -> None:
    s, t = (0.8 + 0.4 * random(2, R, M)).unbind(0)
    theta = [
        [[float(a), 0.0, 0.0], [0.0, float(b), 0.0]] for a, b in zip(s.flatten(), t.flatten(), strict=True)
    ]
    torch.testing.assert_close(augment.scale(x, s, t), published_resample(x, theta))


def test_rotate_resamples_with_the_published_matrices(x: torch.Tensor) -> None:
    angle = 0.5 * random(R, M) - 0.25
    theta = [
        [[math.cos(a), math.sin(-a), 0.0], [math.sin(a), math.cos(a), 0.0]]
        for a in map(float, angle.flatten())
    ]
    torch.testing.assert_close(augment.rotate(x, angle), published_resample(x, theta))


def test_rotating_by_a_quarter_turn_moves_pixels_exactly() -> None:
    x = torch.randn(1, 1, 1, 6, 6, generator=generator(0, "images"), dtype=torch.float64)
    turned = augment.rotate(x, torch.tensor([[math.pi / 2]], dtype=torch.float64))
    torch.testing.assert_close(turned, x.rot90(1, (-2, -1)))


def test_a_scale_below_one_enlarges() -> None:
    x = torch.zeros(1, 1, 1, 9, 9)
    x[..., 3:6, 3:6] = 1
    enlarged = augment.scale(x, torch.tensor([[0.5]]), torch.tensor([[0.5]]))
    assert float(enlarged.sum()) > 2 * float(x.sum())


@pytest.mark.parametrize("family", sorted(augment.FAMILIES))
@pytest.mark.parametrize("per_row", [1, M], ids=["shared", "per image"])
def test_the_gradient_is_the_adjoint(family: str, per_row: int, x: torch.Tensor) -> None:
    u = random(R, per_row, augment.UNIFORMS)
    draw = augment.Draw((family,) * R, u)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(augment.apply(draw, x).sum(), x)
    assert float(gradient.abs().max()) > 0
    small = x[..., :4, :4].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda images: augment.apply(draw, images), (small,))


def test_cutout_stops_the_gradient_on_the_masked_pixels_and_only_there() -> None:
    x = torch.randn(1, 20, 3, 32, 32, generator=generator(0, "images")).requires_grad_()
    draw = augment.draw("cutout", 1, 20, generator(0, "draw"))
    (gradient,) = torch.autograd.grad(augment.apply(draw, x).sum(), x)
    masked = (gradient == 0).sum((-1, -2))
    assert bool((masked <= 256).all())
    assert bool((masked >= 64).all()), "a quarter of the square at a corner is the least"
    assert bool(((gradient == 0) | (gradient == 1)).all())


def test_the_second_derivative_goes_through_a_crop(x: torch.Tensor) -> None:
    x = x[:, :, :, :4, :4].clone().requires_grad_()
    shift = torch.tensor([[1], [-2]])
    assert torch.autograd.gradgradcheck(lambda images: operations.crop(images, shift, -shift).square(), (x,))
