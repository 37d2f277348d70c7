"""Robust accuracy of small networks of digits: order of strength, what it must not depend on, controls."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from distill_bench.attacks import Flags, PixelNetworks, attack_images, balanced_subset, robust_flags
from distill_bench.errors import UserError
from distill_bench.groups import AttackConfig, AttackKind, AttackLoss, AttackNorm
from distill_bench.interrupt import Interrupted
from tests.attacks.digits import EPS, NORMALISE, STEP, halves, hardened, held_out, make_run, plain, stacked

PGD = AttackConfig(name="pgd", kind=AttackKind.pgd, eps=EPS, step=STEP, steps=10)
ATTACKS = {
    "noise": replace(PGD, name="noise", kind=AttackKind.noise, restarts=5),
    "fgsm": replace(PGD, name="fgsm", kind=AttackKind.fgsm),
    "pgd10": PGD,
    "pgd20": replace(PGD, steps=20),
    "margin": replace(PGD, loss=AttackLoss.margin, steps=30),
}
IN_L2: dict[str, Any] = {"norm": AttackNorm.l2, "eps": 0.8, "step": 0.2}


def flags(
    root: Path,
    net: Any,
    attack: AttackConfig,
    *,
    copies: int = 1,
    count: int = 360,
    seed: int = 0,
    **how: Any,
) -> Flags:
    return robust_flags(make_run(root, seed), net, copies, held_out(count), attack, "attack", **how)


def accuracy(found: Flags) -> float:
    return found.measures()[0].values[0]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Flags]:
    """Every attack on the hardened network."""
    return {
        name: flags(tmp_path_factory.mktemp(name), hardened(), attack) for name, attack in ATTACKS.items()
    }


def test_stronger_attacks_leave_less_accuracy(found: dict[str, Flags]) -> None:
    order = [accuracy(found[name]) for name in ("noise", "fgsm", "pgd10", "pgd20")]
    assert order == sorted(order, reverse=True)
    assert order[0] > order[1] > order[2]
    assert (found["pgd20"].robust <= found["pgd10"].robust).all()  # the same search, gone on with


def test_only_training_on_attacked_images_withstands(found: dict[str, Flags], tmp_path: Path) -> None:
    undefended = flags(tmp_path, plain(), ATTACKS["pgd20"])
    assert float(undefended.clean.double().mean()) > 0.94
    assert accuracy(undefended) < 25
    assert accuracy(found["pgd20"]) > 50


@pytest.mark.parametrize("name", ATTACKS)
def test_no_image_is_robust_that_is_not_right_as_it_is(found: dict[str, Flags], name: str) -> None:
    assert (found[name].robust <= found[name].clean).all()
    assert torch.equal(found[name].clean, found["noise"].clean)


@pytest.mark.parametrize("norm", list(AttackNorm), ids=lambda norm: norm.name)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_radius_of_zero_leaves_the_clean_accuracy(name: str, norm: AttackNorm, tmp_path: Path) -> None:
    split, net = held_out(), plain()
    right = net(split.unit(torch.arange(360))).argmax(1) == split.labels
    control = flags(tmp_path, net, replace(ATTACKS[name], eps=0.0, norm=norm))
    assert torch.equal(control.robust[:, 0], right)
    assert accuracy(control) == 100 * int(right.sum()) / 360


def test_no_attack_leaves_the_clean_accuracy(tmp_path: Path) -> None:
    control = flags(tmp_path, plain(), AttackConfig())
    assert torch.equal(control.robust, control.clean)
    assert control.clean.any() and not control.clean.all()


@pytest.mark.parametrize("name", ["noise", "pgd10"])
def test_further_restarts_never_raise_the_accuracy(name: str, tmp_path: Path) -> None:
    one = replace(ATTACKS[name], restarts=1, eps=0.2)
    before = flags(tmp_path / "1", plain(), one)
    after = flags(tmp_path / "5", plain(), replace(one, restarts=5))
    assert (after.robust <= before.robust).all()
    assert (after.robust < before.robust).any()


@pytest.mark.parametrize("name", ["noise", "fgsm", "pgd10", "margin"])
def test_in_l2_a_stronger_attack_breaks_more_and_noise_hardly_anything(name: str, tmp_path: Path) -> None:
    attack = replace(ATTACKS[name], **IN_L2)
    left = accuracy(flags(tmp_path, plain(), attack))
    low, high = {"noise": (90, 100), "fgsm": (20, 70)}.get(name, (0, 50))
    assert low < left < high


def test_the_margin_is_broken_exactly_where_it_is_above_zero() -> None:
    split, net = held_out(), plain()
    x, y = split.unit(torch.arange(360)), split.labels
    result = attack_images(net, 1, x, y, ATTACKS["margin"], list(range(360)))
    logits = net(result.images[0])
    own = logits.gather(1, y[:, None]).squeeze(1)
    others = logits.masked_fill(nn.functional.one_hot(y, 10).bool(), -torch.inf).amax(1)
    assert torch.equal(others - own <= 0, result.robust[0] & result.clean[0])
    assert result.robust.any() and not result.robust.all()


def test_an_image_shown_is_the_first_success_and_in_the_ball() -> None:
    split, net = held_out(), plain()
    x, y = split.unit(torch.arange(360)), split.labels
    few = attack_images(net, 1, x, y, PGD, list(range(360)))
    many = attack_images(net, 1, x, y, ATTACKS["pgd20"], list(range(360)))
    broken = few.clean[0] & ~few.robust[0]
    torch.testing.assert_close(few.images[0][broken], many.images[0][broken])  # found, and not gone on with
    assert (few.images[0] - x).abs().amax() <= EPS + 1e-6
    assert torch.equal(few.images[0][~few.clean[0]], x[~few.clean[0]])
    assert torch.equal(net(few.images[0]).argmax(1) == y, few.robust[0])


@pytest.mark.parametrize("norm", [{}, IN_L2], ids=["linf", "l2"])
def test_the_size_of_the_batch_changes_nothing(norm: dict[str, Any], tmp_path: Path) -> None:
    attack, net = replace(PGD, restarts=2, **norm), copy.deepcopy(plain()).double()
    runs = [
        flags(tmp_path / str(size), lambda x: net(x.double()), attack, count=90, batch_size=size)
        for size in (1, 7, 90)
    ]
    assert runs[0].robust.any() and not runs[0].robust.all()
    for other in runs[1:]:
        assert torch.equal(runs[0].robust, other.robust)
        assert torch.equal(runs[0].clean, other.clean)


def test_a_search_that_leaves_nothing_out_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    split, net = held_out(), copy.deepcopy(plain()).double()
    seeds = list(range(360))
    arguments: Any = (lambda x: net(x.double()), 1, split.unit(torch.arange(360)), split.labels, PGD, seeds)
    quick = attack_images(*arguments)
    monkeypatch.setattr("distill_bench.attacks.search._SHRINK", -1)
    whole = attack_images(*arguments)
    assert torch.equal(quick.robust, whole.robust)
    assert torch.equal(quick.images, whole.images)
    assert quick.robust.any() and not quick.robust.all()


@pytest.mark.parametrize("stop", [0, 2])
def test_a_run_that_was_interrupted_resumes_to_the_same_flags(stop: int, tmp_path: Path) -> None:
    whole = flags(tmp_path / "whole", plain(), PGD, count=100, batch_size=25)
    run, net, asked = make_run(tmp_path / "parts"), plain(), list[int]()

    def stopping(x: Tensor) -> Tensor:
        asked.append(len(x))
        if asked.count(25) == 1 + stop:  # the first pass over a batch is of all its images
            run.interrupt.requested = True
        return net(x)

    with pytest.raises(Interrupted):
        robust_flags(run, stopping, 1, held_out(100), PGD, "attack", batch_size=25)
    again = list[int]()

    def counting(x: Tensor) -> Tensor:
        again.append(len(x))
        return net(x)

    resumed = robust_flags(
        make_run(tmp_path / "parts"), counting, 1, held_out(100), PGD, "attack", batch_size=25
    )
    for key in ("indices", "labels", "clean", "robust", "stuck"):
        assert torch.equal(getattr(whole, key), getattr(resumed, key))
    assert 0 < len(again) < 4 * 12


@pytest.mark.parametrize("together", ["in one module", "in two modules"])
def test_networks_attacked_together_equal_networks_attacked_one_by_one(together: str, tmp_path: Path) -> None:
    nets = stacked() if together == "in one module" else PixelNetworks(modules_of(halves()), NORMALISE)
    assert nets.copies == 2
    attack = replace(PGD, eps=0.08, step=0.02, restarts=2)
    both = flags(tmp_path / "both", nets, attack, copies=2, count=120)
    for number, one in enumerate(halves()):
        alone = flags(tmp_path / str(number), one, attack, count=120)
        assert torch.equal(both.clean[:, number], alone.clean[:, 0])
        assert torch.equal(both.robust[:, number], alone.robust[:, 0])
    assert both.robust.any() and not both.robust.all()
    assert (both.robust[:, 0] != both.robust[:, 1]).any()
    assert len(both.measures()[0].values) == 2


def modules_of(parts: list[PixelNetworks]) -> list[nn.Module]:
    return [module for part in parts for module in part.members]


def test_random_starts_follow_from_the_seed_of_the_run(tmp_path: Path) -> None:
    attack = replace(ATTACKS["noise"], eps=0.4)
    same = [flags(tmp_path / name, plain(), attack, seed=0).robust for name in "ab"]
    assert torch.equal(*same)
    assert not torch.equal(same[0], flags(tmp_path / "c", plain(), attack, seed=1).robust)


class Busy(nn.Module):
    """A network with all that evaluation mode and weights at rest are about."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        assert not self.norm.training and not self.drop.training
        assert not any(weight.requires_grad for weight in self.parameters())
        assert not torch.is_autocast_enabled("cpu")
        logits: Tensor = self.head(self.drop(self.norm(x)).flatten(1))
        return logits


def test_a_network_is_left_as_it_was(tmp_path: Path) -> None:
    net = Busy().train()
    net.norm.eval()
    net.head.bias.requires_grad_(False)
    net.head.weight.grad = torch.ones_like(net.head.weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        flags(tmp_path, net, PGD, count=30)
        assert torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled()
    assert [net.training, net.norm.training, net.drop.training] == [True, False, True]
    assert {name for name, weight in net.named_parameters() if not weight.requires_grad} == {"head.bias"}
    assert net.head.weight.grad is not None and (net.head.weight.grad == 1).all()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_network_is_left_as_it_was_after_an_error_too(tmp_path: Path) -> None:
    net = plain()
    modes = [module.training for module in net.train().modules()]
    with pytest.raises(RuntimeError):
        flags(tmp_path, net, PGD, copies=3, count=30)
    assert [module.training for module in net.modules()] == modes
    assert all(weight.requires_grad for weight in net.parameters())
    net.eval()


class Saturated(nn.Module):
    """The same decisions, of logits so large that the cross-entropy has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = plain()(x)
        return 1000 * logits


def test_gradients_that_are_hidden_are_told_of_and_found_by_the_margin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = flags(tmp_path / "ce", Saturated(), PGD)
    assert hidden.stuck.sum() > 100 and (hidden.stuck <= hidden.robust).all()
    said = capsys.readouterr().err.strip().splitlines()
    told = [line for line in said if "had no gradient" in line]
    assert len(told) == 1 and f"{int(hidden.stuck.sum())} of {int(hidden.robust.sum())}" in told[0]
    shown = flags(tmp_path / "margin", Saturated(), replace(PGD, loss=AttackLoss.margin))
    assert not shown.stuck.any()
    assert accuracy(shown) < 30 < accuracy(hidden)


def test_logits_that_are_not_finite_are_an_error_of_the_network(tmp_path: Path) -> None:
    def broken(x: Tensor) -> Tensor:
        return plain()(x) + torch.full((10,), torch.nan)

    found = flags(tmp_path, broken, PGD, count=20)
    assert not found.clean.any() and not found.robust.any()


def test_images_of_a_subset_have_equal_classes_and_are_a_part_of_every_larger_one() -> None:
    split = held_out()
    small, large = balanced_subset(split, 50), balanced_subset(split, 105)
    assert split.labels[small].bincount(minlength=10).tolist() == [5] * 10
    counts = split.labels[large].bincount(minlength=10)
    assert counts.max() - counts.min() == 1 and len(large) == len(large.unique()) == 105
    assert set(small.tolist()) < set(large.tolist())
    assert small.tolist() == sorted(small.tolist())
    assert small.tolist() != balanced_subset(split, 0)[:50].tolist()
    assert torch.equal(balanced_subset(split, 0), torch.arange(360))


def test_a_subset_takes_what_a_small_class_cannot_give_from_the_others() -> None:
    split = held_out()
    most = balanced_subset(split, 359)
    assert len(most.unique()) == 359
    with pytest.raises(UserError, match=r"attack\.images=361: must be at most 360"):
        balanced_subset(split, 361)


def test_flags_of_a_subset_are_those_of_the_whole(tmp_path: Path) -> None:
    net = copy.deepcopy(plain()).double()
    whole = flags(tmp_path / "whole", lambda x: net(x.double()), PGD)
    part = flags(tmp_path / "part", lambda x: net(x.double()), replace(PGD, images=50))
    assert len(part.indices) == 50
    assert torch.equal(part.robust, whole.robust[part.indices])
    assert torch.equal(part.labels, whole.labels[part.indices])


def test_flags_are_kept_image_by_image(tmp_path: Path) -> None:
    found = flags(tmp_path, stacked(), replace(PGD, eps=0.08, step=0.02, images=40), copies=2)
    found.save(tmp_path / "attack.parquet")
    table = pd.read_parquet(tmp_path / "attack.parquet")
    assert list(table.columns) == ["index", "label", "network", "clean", "robust"]
    assert len(table) == 80
    for number in range(2):
        rows = table[table["network"] == number]
        assert rows["index"].tolist() == found.indices.tolist()
        assert rows["label"].tolist() == found.labels.tolist()
        assert rows["robust"].tolist() == found.robust[:, number].tolist()
        assert 100 * rows["robust"].mean() == pytest.approx(found.measures()[0].values[number])
    assert 0 < table["robust"].mean() < table["clean"].mean()


def test_a_measure_names_its_attack_and_what_else_it_is_told(tmp_path: Path) -> None:
    (measure,) = flags(tmp_path, plain(), PGD, count=20).measures({"student": "mlp"})
    assert (measure.name, measure.facets) == ("robust_accuracy", {"student": "mlp", "attack": "pgd"})


@pytest.mark.parametrize("norm", list(AttackNorm), ids=lambda norm: norm.name)
def test_a_search_that_leaves_the_ball_is_an_error(
    norm: AttackNorm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("distill_bench.attacks.ball.Region.project", lambda _, images: images)
    with pytest.raises(RuntimeError, match="an attacked image is"):
        flags(tmp_path, plain(), replace(PGD, steps=20, norm=norm, eps=0.15), count=20)
