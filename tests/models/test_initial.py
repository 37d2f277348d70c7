"""Fresh parameters: their distribution, and that they follow from the generator alone."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from distill_bench import models
from distill_bench.architectures import ARCHITECTURES
from distill_bench.groups import Norm, StudentConfig
from distill_bench.models.layers import LayerNorm
from distill_bench.seeding import generator


@pytest.fixture(params=list(Norm), ids=lambda norm: norm.name)
def net(request: pytest.FixtureRequest) -> nn.Module:
    return models.build(
        StudentConfig(width=32, norm=request.param), channels=3, num_classes=10, resolution=32
    )


def values(net: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(net: nn.Module) -> None:
    draws = []
    for seed in (1, 1, 2):
        models.reinitialise(net, generator(seed, "weights"))
        draws.append(values(net).clone())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_nothing_is_drawn_from_the_global_generator(net: nn.Module) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    models.reinitialise(net, generator(1, "weights"))
    models.build(StudentConfig(width=4), channels=1, num_classes=2, resolution=8)
    assert torch.equal(torch.get_rng_state(), before)


def test_convolutions_and_the_classifier_are_uniform_within_the_inverse_root_of_fan_in(
    net: nn.Module,
) -> None:
    models.reinitialise(net, generator(0, "weights"))
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(module.weight[0].numel())
            scaled = module.weight.detach().flatten() / bound
            assert float(scaled.abs().max()) <= 1
            expected = torch.linspace(-1, 1, len(scaled))
            distance = (scaled.sort().values - expected).abs().max()  # twice the Kolmogorov-Smirnov statistic
            assert float(distance) < 2 * 1.95 / math.sqrt(len(scaled)), "rejected at the 0.1 % level"
            assert module.bias is not None
            assert float(module.bias.detach().abs().max()) <= bound


def test_it_has_the_moments_of_torchs_own_constructors() -> None:
    config = StudentConfig(width=64)
    ours = models.build(config, channels=3, num_classes=10, resolution=32)
    models.reinitialise(ours, generator(0, "weights"))
    theirs = models.build(config, channels=3, num_classes=10, resolution=32)
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        if a.numel() > 1000:
            assert float(a.std() / b.std()) == pytest.approx(1, abs=0.05)
            assert float((a.mean() - b.mean()).abs()) < 6 * float(b.std()) / math.sqrt(a.numel())


def test_norms_are_reset_with_their_statistics(net: nn.Module) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    net.train()(torch.ones(2, 3, 32, 32))
    models.reinitialise(net, generator(0, "weights"))
    for module in net.modules():
        if isinstance(module, (nn.GroupNorm, nn.BatchNorm2d, LayerNorm)):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            assert bool((module.running_mean == 0).all())
            assert bool((module.running_var == 1).all())


def test_parameters_keep_their_identity_and_share_one_buffer(net: nn.Module) -> None:
    before = list(net.parameters())
    models.reinitialise(net, generator(0, "weights"))
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert len({parameter.untyped_storage().data_ptr() for parameter in net.parameters()}) == 1


@pytest.mark.parametrize("change", ["copy", "cast", "load"])
def test_it_still_works_after_the_network_was(change: str) -> None:
    net = models.build(StudentConfig(width=8), channels=3, num_classes=10, resolution=32)
    models.reinitialise(net, generator(0, "weights"))
    first = values(net).clone()
    other = copy.deepcopy(net) if change == "copy" else net
    if change == "cast":
        other.double().float()
    if change == "load":
        other.load_state_dict({name: torch.zeros_like(value) for name, value in net.state_dict().items()})
    models.reinitialise(other, generator(0, "weights"))
    assert torch.equal(values(other), first)


def test_flattening_keeps_the_values() -> None:
    net = models.build(StudentConfig(width=8), channels=3, num_classes=10, resolution=32)
    before = values(net).clone()
    flat = models.flatten_parameters(net)
    assert torch.equal(values(net), before)
    flat.zero_()
    assert bool((values(net) == 0).all())


UNIFORM = [
    name for name in ARCHITECTURES if not name.startswith("resnet") or name in ("resnet18", "resnetap10")
]


@pytest.mark.parametrize("copies", [1, 2], ids=["alone", "two"])
@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_networks_are_one_draw_scaled_by_the_root_of_fan_in(name: str, copies: int) -> None:
    """Bit for bit: the parameters in their order, each from the next multiple of 64 of one uniform draw."""
    config = StudentConfig(name=name, width=16, norm=Norm.batch)
    net: Any = models.build(config, channels=3, num_classes=5, resolution=32)
    net = net.times(copies) if copies > 1 else net
    models.reinitialise(net, generator(7, "weights"))
    bounds = [
        (float(module.weight[0].numel() ** -0.5), 0.0)
        if isinstance(module, (nn.Conv2d, nn.Linear))
        else (0, i == 0)
        for module in net.modules()
        for i, _ in enumerate(module.parameters(recurse=False))
    ]
    sizes = [64 * math.ceil(parameter.numel() / 64) for parameter in net.parameters()]
    draw = torch.rand(sum(sizes), generator=generator(7, "weights"))
    low = torch.cat(
        [torch.full((n,), c - b, dtype=torch.float32) for n, (b, c) in zip(sizes, bounds, strict=True)]
    )
    span = torch.cat(
        [torch.full((n,), 2 * b, dtype=torch.float32) for n, (b, _) in zip(sizes, bounds, strict=True)]
    )
    expected = torch.addcmul(low, draw, span).split(sizes)
    for parameter, values in zip(net.parameters(), expected, strict=True):
        assert torch.equal(parameter.detach().flatten(), values[: parameter.numel()])


@pytest.mark.parametrize("copies", [1, 3], ids=["alone", "three"])
@pytest.mark.parametrize("name", ["resnet8x4", "wrn_16_2"])
def test_kernels_of_residual_networks_for_cifar_are_normal_with_variance_two_over_fan_out(
    name: str, copies: int
) -> None:
    single: Any = models.build(StudentConfig(name=name), channels=3, num_classes=100, resolution=32)
    net = single.times(copies)
    models.reinitialise(net, generator(0, "weights"))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels // copies * module.kernel_size[0] ** 2
            scaled = module.weight.detach().flatten() * math.sqrt(fan_out / 2)
            uniforms = torch.special.ndtr(scaled.double()).sort().values
            distance = (uniforms - torch.linspace(0, 1, len(uniforms), dtype=torch.float64)).abs().max()
            assert float(distance) < 1.95 / math.sqrt(len(uniforms)), "Kolmogorov-Smirnov at the 0.1 % level"
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all()) and bool((module.bias == 0).all())
    bound = 1 / math.sqrt(net.classifier.in_features)
    assert 0.9 * bound < float(net.classifier.weight.detach().abs().max()) <= bound
    largest = float(net.classifier.bias.detach().abs().max())
    assert largest == 0 if name.startswith("wrn") else 0.8 * bound < largest <= bound


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_kernels_of_two_seeds_and_of_two_layers_are_not_alike(name: str) -> None:
    net: Any = models.build(StudentConfig(name=name), channels=3, num_classes=10, resolution=32)
    draws = []
    for seed in (1, 2, 1):
        models.reinitialise(net, generator(seed, "weights"))
        draws.append(values(net).clone())
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])
    kernels = [module.weight.detach().flatten() for module in net.modules() if isinstance(module, nn.Conv2d)]
    for a, b in pairwise(kernels):
        n = min(len(a), len(b))
        correlation = torch.corrcoef(torch.stack([a[:n], b[:n]]))[0, 1]
        assert abs(float(correlation)) < 4 / math.sqrt(n)
