"""The inner maximisation: closed forms of linear functions, ball and box, gradients that are missing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.attacks import Ball, Region, maximise
from distill_bench.attacks.maximise import ascend
from distill_bench.attacks.objectives import cross_entropy, errs, margin
from distill_bench.errors import UserError
from distill_bench.groups import AttackNorm
from distill_bench.seeding import generator
from tests.attacks.digits import EPS, STEP, held_out, plain

NORMS = list(AttackNorm)
RADIUS = {AttackNorm.linf: 0.1, AttackNorm.l2: 0.8}


def grey(count: int = 6, channels: int = 3, size: int = 5) -> Tensor:
    """Images around which neither ball reaches the box."""
    return 0.5 + 0.1 * (torch.rand(count, channels, size, size, generator=generator(0, "grey")) - 0.5)


def weights(images: Tensor) -> Tensor:
    """A linear function of each image."""
    return torch.randn(images.shape, generator=generator(0, "weights"))


def dual(w: Tensor, norm: AttackNorm) -> Tensor:
    """The point of the ball of radius 1 at which <w, .> is largest."""
    return w.sign() if norm is AttackNorm.linf else w / w.flatten(1).norm(dim=1)[:, None, None, None]


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_a_linear_function_is_taken_to_its_exact_maximum(norm: AttackNorm, steps: int) -> None:
    x, eps = grey(), RADIUS[norm]
    w = weights(x)
    step = eps if steps == 1 else eps / 4
    found = maximise(lambda z: (w * z).flatten(1).sum(1), x, Ball(norm, eps), steps=steps, step=step)
    torch.testing.assert_close(found, x + eps * dual(w, norm), atol=2e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_the_maximum_is_reached_from_a_random_start_too(norm: AttackNorm) -> None:
    x, ball = grey(), Ball(norm, RADIUS[norm])
    w = weights(x)
    start = x + ball.draw(tuple(x.shape), generator(1))
    found = maximise(lambda z: (w * z).flatten(1).sum(1), x, ball, steps=400, step=ball.eps / 8, start=start)
    torch.testing.assert_close(found, x + ball.eps * dual(w, norm), atol=2e-4, rtol=0)


def test_the_margin_of_a_linear_classifier_falls_by_eps_times_the_dual_norm() -> None:
    x = grey()
    w_KD = torch.randn(2, x[0].numel(), generator=generator(0, "classifier"))
    y = torch.arange(len(x)) % 2
    difference = (w_KD[1 - y] - w_KD[y]).flatten(1)
    for norm, order in ((AttackNorm.linf, 1), (AttackNorm.l2, 2)):
        eps = RADIUS[norm]

        def gain(z: Tensor) -> Tensor:
            return margin(z.flatten(1) @ w_KD.T, y)

        for objective in (gain, lambda z: cross_entropy(z.flatten(1) @ w_KD.T, y)):
            found = maximise(objective, x, Ball(norm, eps), steps=10, step=eps / 4)
            risen = gain(found) - gain(x)
            torch.testing.assert_close(risen, eps * difference.norm(p=order, dim=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eps", [0.0, 1e-4, 0.3, 1.0])
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_what_is_found_is_in_the_ball_and_in_the_box(norm: AttackNorm, eps: float) -> None:
    x = torch.rand(8, 3, 6, 6, generator=generator(2)).mul(2).sub(0.5).clamp(0, 1)  # many at the box's walls
    w, ball = weights(x), Ball(norm, eps)
    start = x + 3 * torch.randn(x.shape, generator=generator(3))
    for steps in (0, 3):
        found = maximise(
            lambda z: (w * z.square()).flatten(1).sum(1), x, ball, steps=steps, step=0.7, start=start
        )
        assert found.min() >= 0 and found.max() <= 1
        assert (Region(x, ball).distance(found) <= eps + 1e-6).all()
        assert eps > 0 or torch.equal(found, x)
        assert not found.requires_grad


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_draws_are_uniform_in_the_ball(norm: AttackNorm) -> None:
    ball, shape = Ball(norm, 0.5), (4000, 1, 1, 2)
    changes = ball.draw(shape, generator(4))
    inside = Region(torch.zeros(shape), ball).distance(changes) / 0.5
    assert inside.max() <= 1
    for share in (0.25, 0.5, 0.75):  # the share of the volume within a radius
        assert float((inside <= share**0.5).double().mean()) == pytest.approx(share, abs=0.03)
    assert changes.mean(0).abs().max() < 0.02


def test_leading_axes_are_independent_problems() -> None:
    x, ball = torch.rand(2, 3, 1, 4, 4, generator=generator(5)), Ball(AttackNorm.linf, 0.1)
    w = torch.randn(x.shape, generator=generator(6))

    def run(rows: slice) -> Tensor:
        return maximise(lambda z: (w[rows] * z.sin()).flatten(2).sum(2), x[rows], ball, steps=4, step=0.05)

    together = run(slice(None))
    assert torch.equal(together, torch.cat([run(slice(0, 1)), run(slice(1, 2))]))


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf], ids=str)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_an_image_without_a_gradient_moves_and_is_reported(norm: AttackNorm, value: float) -> None:
    x, eps = grey(), RADIUS[norm]
    w = weights(x)
    w[2] = value
    region = Region(x, Ball(norm, eps))
    found, stuck = ascend(lambda z: (w * z).flatten(1).sum(1), region, x, 5, eps / 4)
    others = torch.arange(len(x)) != 2
    without = norm is AttackNorm.l2 or not math.isinf(value)  # the sign of an infinite gradient is one
    assert stuck.tolist() == [row == 2 and without for row in range(len(x))]
    assert found.isfinite().all()
    assert (region.distance(found) > 0.99 * eps).all()
    torch.testing.assert_close(found[others], (x + eps * dual(w, norm))[others], atol=2e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_entries_that_are_not_numbers_do_not_hide_the_others(norm: AttackNorm) -> None:
    x, w = grey(1), weights(grey(1))
    cut = w.clone()
    cut[0, 0, 0, 0] = 0
    w[0, 0, 0, 0] = math.nan
    ball = Ball(norm, RADIUS[norm])

    def run(slope: Tensor) -> Tensor:
        return maximise(lambda z: (slope * z).flatten(1).sum(1), x, ball, steps=1, step=ball.eps)

    assert torch.equal(run(w), run(cut))


def test_a_gradient_whose_squares_are_zero_has_its_direction() -> None:
    x = grey()
    w, ball = weights(x), Ball(AttackNorm.l2, 0.5)

    def run(scale: float) -> Tensor:
        return maximise(lambda z: (scale * w * z).flatten(1).sum(1), x, ball, steps=1, step=0.5)

    torch.testing.assert_close(run(1e-30), run(1.0), atol=1e-6, rtol=0)


def test_a_function_that_does_not_depend_on_pixels_is_no_error_but_reported() -> None:
    x = grey()
    for constant in (torch.zeros(len(x)), torch.zeros(len(x), requires_grad=True)):
        region = Region(x, Ball(AttackNorm.linf, 0.1))
        _, stuck = ascend(lambda _, c=constant: c, region, x, 1, 0.1)  # type: ignore[misc]
        assert stuck.all()


def test_the_divergence_of_trades_is_maximised_by_the_same_function() -> None:
    split, net = held_out(64), plain()
    x = split.unit(torch.arange(64))
    log_p = net(x).log_softmax(1).detach()

    def divergence(z: Tensor) -> Tensor:
        return F.kl_div(net(z).log_softmax(1), log_p, reduction="none", log_target=True).sum(1)

    start = x + 0.001 * torch.randn(x.shape, generator=generator(7))
    found = maximise(divergence, x, Ball(AttackNorm.linf, EPS), steps=7, step=STEP, start=start)
    assert divergence(x).abs().max() < 1e-6
    assert divergence(found).mean() > 0.5


@pytest.mark.parametrize("shift", [-0.01, 0.01, math.nan], ids=str)
def test_pixels_outside_the_box_are_refused_in_one_line(shift: float) -> None:
    x = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)]) + shift
    with pytest.raises(UserError, match=r"must be in \[0, 1\]; normalise inside the network") as error:
        maximise(lambda z: z.flatten(1).sum(1), x, Ball(AttackNorm.linf, 0.1), steps=1, step=0.1)
    assert "\n" not in str(error.value)


def test_an_objective_must_have_a_value_for_each_image() -> None:
    with pytest.raises(ValueError, match="an objective of shape"):
        maximise(lambda z: z.mean(), grey(), Ball(AttackNorm.linf, 0.1), steps=1, step=0.1)


def test_the_margin_is_above_zero_exactly_where_the_network_errs() -> None:
    logits = torch.randn(500, 5, generator=generator(8))
    labels = torch.arange(500) % 5
    assert torch.equal(margin(logits, labels) > 0, errs(logits, labels))
    logits[0, 3] = math.nan
    assert errs(logits, torch.full((500,), 3))[0]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_draws_of_many_images_are_those_of_each(norm: AttackNorm) -> None:
    ball = Ball(norm, RADIUS[norm])
    together = ball.draw_each((3, 5, 5), [generator(seed) for seed in range(4)])
    alone = torch.stack([ball.draw((3, 5, 5), generator(seed)) for seed in range(4)])
    assert torch.equal(together, alone)
    assert len(together.flatten(1).unique(dim=0)) == 4
