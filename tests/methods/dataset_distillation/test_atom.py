"""Laws of ATOM: its two terms, what it is without one or both of them, and a small real experiment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.matching.distribution import class_mean_loss
from distill_bench.methods.dataset_distillation import atom, datadam, dm
from distill_bench.reporting import reference_file
from tests.conftest import REPOSITORY

WORDS = ["method=atom", "dataset=digits", "ipc=1", "profile=smoke"]
CLASSES = 3
MakeContext = Callable[..., Context]
RunCell = Callable[..., dict[str, Any]]


def config(**settings: Any) -> atom.Config:
    """The attention terms alone, without factors, unless told otherwise."""
    return atom.Config(**{"loss_scale": 1.0, "task_balance": 0.0, **settings})


def feature_maps(images: int, seed: int, layers: int = 3) -> Any:
    draws = torch.Generator().manual_seed(seed)
    maps = [torch.randn(images, 4, 6, 6, generator=draws, dtype=torch.float64).relu() for _ in range(layers)]
    return SimpleNamespace(maps=maps, embedding=maps[-1].flatten(1))


def loss_of(cfg: Any, real: Any, synthetic: Any, classes: int = CLASSES) -> torch.Tensor:
    """The loss of `cfg`, ATOM's or DataDAM's, for the features of real and synthetic images."""
    statistics = (
        atom.matched(cfg).statistics if isinstance(cfg, atom.Config) else lambda f: datadam.statistics(f, cfg)
    )
    sides = [
        [(w, v.unflatten(0, (classes, -1)).mean(1)) for w, v in statistics(f)] for f in (real, synthetic)
    ]
    return class_mean_loss(*sides)


class SmoothNet(torch.nn.Module):
    """Two blocks with softplus for ReLU, so that finite differences are meaningful."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        one = torch.nn.functional.softplus(self.first(x))
        two = torch.nn.functional.softplus(self.second(one))
        return SimpleNamespace(maps=[one, two], embedding=two.flatten(1))


def images(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(cfg: Any, net: Any) -> torch.Tensor:
    """The gradient of the loss at synthetic images of two classes."""
    synthetic = images(2, 1).requires_grad_()
    (found,) = torch.autograd.grad(loss_of(cfg, net(images(4, 0)), net(synthetic), classes=2), synthetic)
    return found


def test_each_term_is_between_zero_and_twice_the_number_of_classes_and_layers() -> None:
    for mix in atom.Mix:
        loss = loss_of(config(mix=mix), feature_maps(12, 0), feature_maps(6, 1))
        assert 0 < float(loss) <= (2 if mix is atom.Mix.sum else 1) * 2 * CLASSES * 2


def test_equal_batches_give_no_loss() -> None:
    assert float(loss_of(atom.Config(), feature_maps(6, 0), feature_maps(6, 0))) == 0


def test_the_channel_term_does_not_depend_on_the_order_of_channels_common_to_both_sides() -> None:
    cfg = config(mix=atom.Mix.channel)
    real, synthetic = feature_maps(12, 0), feature_maps(6, 1)
    before = loss_of(cfg, real, synthetic)
    for side in (real, synthetic):
        side.maps[0] = side.maps[0][:, [2, 0, 3, 1]]
    torch.testing.assert_close(loss_of(cfg, real, synthetic), before)
    real.maps[0] = real.maps[0][:, [1, 0, 2, 3]]
    assert not torch.allclose(loss_of(cfg, real, synthetic), before)


@pytest.mark.parametrize("size", [(1, 4), (6, 1)], ids=["one position", "one channel"])
def test_a_layer_of_one_position_or_one_channel_gives_no_term(size: tuple[int, int]) -> None:
    side, channels = size
    real, synthetic = (
        [feature_maps(n, s).maps[0][:, :channels, :side, :side] + 0.1] for n, s in ((12, 0), (6, 1))
    )
    blind, seeing = (
        (atom.Mix.spatial, atom.Mix.channel) if side == 1 else (atom.Mix.channel, atom.Mix.spatial)
    )
    one, two = (SimpleNamespace(maps=maps, embedding=maps[0].flatten(1)) for maps in (real, synthetic))
    assert float(loss_of(config(mix=blind, layers=atom.Layers.all), one, two)) < 1e-20
    assert float(loss_of(config(mix=seeing, layers=atom.Layers.all), one, two)) > 1e-4


def test_joining_the_two_vectors_into_one_halves_the_sum() -> None:
    real, synthetic = feature_maps(12, 0), feature_maps(6, 1)
    joined, total = (loss_of(config(mix=mix), real, synthetic) for mix in (atom.Mix.concat, atom.Mix.sum))
    torch.testing.assert_close(joined, total / 2)


def test_the_sum_is_that_of_its_weighted_terms_in_loss_and_gradient() -> None:
    net = SmoothNet().double()
    weights = {"weight_spatial": 0.5, "weight_channel": 2.0}
    both, spatial, channel = (
        gradient(config(mix=mix, **weights), net)
        for mix in (atom.Mix.sum, atom.Mix.spatial, atom.Mix.channel)
    )
    torch.testing.assert_close(both, spatial + channel)
    torch.testing.assert_close(spatial, 0.5 * gradient(config(mix=atom.Mix.spatial), net))
    assert float(channel.abs().max()) > 1e-6


def test_without_the_channel_term_loss_and_gradient_are_those_of_datadam_bit_for_bit() -> None:
    net = SmoothNet().double()
    ours = [
        atom.Config(mix=atom.Mix.spatial, power_spatial=3.0),
        atom.Config(weight_channel=0.0, power_spatial=3.0),
    ]
    theirs = datadam.Config(power=3.0)
    for cfg in ours:
        assert torch.equal(gradient(cfg, net), gradient(theirs, net))
        both = [loss_of(c, feature_maps(12, 0), feature_maps(6, 1)) for c in (cfg, theirs)]
        assert torch.equal(*both)
    assert not torch.equal(gradient(atom.Config(power_spatial=3.0), net), gradient(theirs, net))


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        ({"mix": atom.Mix.spatial}, datadam),
        ({"weight_spatial": 0.0, "weight_channel": 0.0}, dm),
    ],
    ids=["datadam", "dm"],
)
def test_without_one_or_both_attentions_a_run_is_that_of_another_method_bit_for_bit(
    context: MakeContext, settings: dict[str, Any], other: Any
) -> None:
    shared: dict[str, Any] = {"iterations": 4, "batch_real": 8}
    theirs = other.Config(**shared)
    expected = other.run(context(f"method={theirs.name}", *WORDS[1:]), theirs).images
    assert torch.equal(atom.run(context(*WORDS), atom.Config(**shared, **settings)).images, expected)
    whole = atom.run(
        context(*WORDS, "method.mix=concat"), atom.Config(**shared)
    ).images  # in a folder of its own
    assert not torch.equal(whole, expected)


@pytest.mark.parametrize("mix", list(atom.Mix), ids=lambda mix: mix.name)
def test_the_gradient_with_respect_to_pixels_agrees_with_finite_differences(mix: atom.Mix) -> None:
    net, cfg = SmoothNet().double(), atom.Config(mix=mix, layers=atom.Layers.all)
    real, synthetic = images(4, 0), images(2, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss_of(cfg, net(real), net(s), classes=2), (synthetic,))


def test_wrong_settings_are_one_line() -> None:
    with pytest.raises(UserError, match=r"method\.power_channel=0\.5.*>= 1"):
        atom.Config(power_channel=0.5)
    with pytest.raises(UserError, match=r"method\.mix=concat.*weight_spatial and weight_channel differ"):
        atom.Config(mix=atom.Mix.concat, weight_channel=2.0)


@pytest.mark.parametrize(
    ("words", "settings", "warned"),
    [
        ([], {"power_channel": 2.0}, True),
        ([], {}, False),
        (["student=convnet_bn"], {"power_channel": 2.0}, False),
        ([], {"power_channel": 2.0, "mix": atom.Mix.spatial}, False),
    ],
    ids=["instance norm, p 2", "p 4", "batch norm", "no channel term"],
)
def test_a_channel_term_that_is_nearly_blind_is_warned_of(
    context: MakeContext,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    settings: dict[str, Any],
    warned: bool,
) -> None:
    atom.run(context(*WORDS, *words), atom.Config(iterations=0, **settings))
    assert ("method.power_channel=2: channel attention is nearly blind" in capsys.readouterr().err) == warned


def test_the_curves_show_each_term_and_the_parts_make_the_loss(run_cell: RunCell, tmp_path: Path) -> None:
    result = run_cell(*WORDS)
    lines = (tmp_path / "products" / result["product"]["id"] / "metrics.jsonl").read_text().splitlines()
    first = next(point for point in map(json.loads, lines) if point["phase"] == "distil")
    parts = first["spatial"] + first["channel"] + 0.01 * first["mmd"]
    assert 100 * parts == pytest.approx(first["loss"], rel=1e-5)


def test_the_papers_row_is_marked_as_recalled_and_no_other() -> None:
    numbers = reference_file(REPOSITORY / "results" / "reference" / "atom_table1.csv")
    assert {number.method for number in numbers} == {"random", "dm", "datadam", "atom", "full"}
    assert {number.method for number in numbers if number.mark == "recalled"} == {"atom"}
    assert len([number for number in numbers if number.method == "atom"]) == 9


def final_loss_ratio(result: dict[str, Any], roots: Path) -> float:
    """The loss at the end of the distillation by that at its start."""
    lines = (roots / "products" / result["product"]["id"] / "metrics.jsonl").read_text().splitlines()
    losses = [point["loss"] for point in map(json.loads, lines) if point["phase"] == "distil"]
    return losses[-1] / losses[0]


@pytest.mark.slow
def test_on_digits_it_beats_random_selection_and_is_level_with_datadam_from_noise(
    run_cell: RunCell, tmp_path: Path
) -> None:
    words = [
        "dataset=digits",
        "ipc=1",
        "student.width=16",
        "protocol.augment=false",
        "protocol.epochs=120",
        "protocol.nets=3",
    ]

    def accuracy(result: dict[str, Any]) -> float:
        values = result["measures"][0]["values"]
        return sum(values) / len(values)

    distil = ["method.iterations=200", "method.augment=false", "method.lr_image=0.1"]
    random_selection = (
        sum(accuracy(run_cell(*words, "method=random", f"seed={seed}")) for seed in range(3)) / 3
    )
    real = run_cell(*words, *distil, "method=atom")
    assert accuracy(real) > random_selection + 8
    noise = [run_cell(*words, *distil, f"method={name}", "method.init=noise") for name in ("atom", "datadam")]
    assert final_loss_ratio(noise[0], tmp_path) < 0.6
    assert accuracy(noise[0]) >= accuracy(noise[1]) - 2
