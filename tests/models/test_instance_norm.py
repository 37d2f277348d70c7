"""Laws of instance norm whose second derivatives are taken in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from distill_bench import models
from distill_bench.models import InstanceNorm
from distill_bench.seeding import generator


def layer() -> tuple[InstanceNorm, Tensor, Tensor]:
    """A layer of three channels, images that need a gradient, and weights for a loss; double precision."""
    draws = generator(0, "norm")
    norm = InstanceNorm(3).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(3, generator=draws, dtype=torch.float64))
    x, weights = torch.randn(2, 2, 3, 4, 5, generator=draws, dtype=torch.float64).unbind(0)
    return norm, x.requires_grad_(), weights


def derivatives(twice: bool) -> list[Tensor]:
    """Output, first derivatives, and second derivatives of a loss that uses all of the first."""
    norm, x, weights = layer()
    if twice:
        models.differentiate_twice(norm)
    inputs = [x, norm.weight, norm.bias]
    y = norm(x)
    first = torch.autograd.grad((y**3 * weights).sum(), inputs, create_graph=True)
    loss = (first[0] * weights).sum() + first[1].square().sum() + first[2].square().sum()
    return [y, *first, *torch.autograd.grad(loss, inputs)]


def test_output_and_first_derivatives_keep_their_bits_in_training() -> None:
    norm, x, weights = layer()
    found = []
    for twice in (False, True):
        norm.twice = twice
        y = norm(x)
        found.append([y, *torch.autograd.grad((y**3 * weights).sum(), [x, norm.weight, norm.bias])])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_second_derivatives_are_those_of_the_library() -> None:
    for mine, theirs in zip(derivatives(True), derivatives(False), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-9)


def test_second_derivatives_are_those_of_finite_differences() -> None:
    norm, x, _ = layer()
    models.differentiate_twice(norm)
    weight, bias = norm.weight.detach().requires_grad_(), norm.bias.detach().requires_grad_()

    def output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))
        return found

    assert torch.autograd.gradgradcheck(output, (x, weight, bias))


def test_only_what_is_asked_for_gets_a_second_derivative() -> None:
    norm, x, weights = layer()
    models.differentiate_twice(norm)
    (of_weight,) = torch.autograd.grad((norm(x) ** 3 * weights).sum(), [norm.weight], create_graph=True)
    (of_x,) = torch.autograd.grad(of_weight.sum(), [x])
    assert of_x.abs().sum() > 0
