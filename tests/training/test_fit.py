"""Laws of the trainer: torch's ordinary loop on the same draws, averages, clipping, and going on anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import models, training
from distill_bench.groups import Augmentation, Batching, Norm, Optimiser, Recipe, Schedule, StudentConfig
from distill_bench.interrupt import Interrupted
from distill_bench.seeding import generator
from tests.training.build import CLASSES, CPU, batches, images, network, plain_loop, recipe, run_in
from tests.training.objectives import Projected

NORMS = pytest.mark.parametrize("norm", [Norm.instance, Norm.batch], ids=lambda norm: norm.name)


def fitted(asked: Recipe, norm: Norm = Norm.instance, **more: Any) -> nn.Module:
    net = network(norm)
    given = {"objective": training.CrossEntropy(), "loop": plain_loop, **more}
    training.fit(net, batches(asked), asked, epochs=asked.epochs, **given)
    return net


def ordinary(asked: Recipe, norm: Norm, smoothing: float = 0.0) -> Iterator[nn.Module]:
    """Torch's own loop on the same draws: the network after each step."""
    net, (x, y) = network(norm), images()
    if asked.optimiser is Optimiser.adamw:
        groups = [
            {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": asked.weight_decay},
            {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        optimiser: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=asked.lr)
    else:
        optimiser = torch.optim.SGD(
            net.parameters(),
            lr=asked.lr,
            momentum=asked.momentum,
            weight_decay=asked.weight_decay,
            nesterov=asked.optimiser is Optimiser.nesterov,
        )
    for epoch in range(asked.epochs):
        order = torch.randperm(len(x), generator=generator(5, "order", epoch))
        for part in order.split(asked.batch_size):
            optimiser.zero_grad()
            F.cross_entropy(net(x[part]), y[part], label_smoothing=smoothing).backward()
            if asked.clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), asked.clip)
            optimiser.step()
            yield net


def last(nets: Iterator[nn.Module]) -> nn.Module:
    *_, net = nets
    return net


def assert_close(a: nn.Module, b: nn.Module, tolerance: float = 1e-9) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=tolerance, rtol=tolerance, msg=name)


@NORMS
@pytest.mark.parametrize("optimiser", list(Optimiser), ids=lambda optimiser: optimiser.name)
def test_the_trainer_is_torchs_ordinary_loop(optimiser: Optimiser, norm: Norm) -> None:
    rate = 0.003 if optimiser is Optimiser.adamw else 0.05
    asked = recipe(optimiser=optimiser, lr=rate, weight_decay=0.01)
    assert_close(fitted(asked, norm), last(ordinary(asked, norm)))


def test_a_clipped_step_is_torchs_and_its_gradient_no_longer_than_asked() -> None:
    asked = recipe(clip=0.05)
    assert_close(fitted(asked), last(ordinary(asked, Norm.instance)))
    one = recipe(clip=0.05, epochs=1, batch_size=20, momentum=0.0, weight_decay=0.0, lr=1.0)
    start, end = network().state_dict(), fitted(one).state_dict()
    step = torch.cat([(end[name] - start[name]).flatten() for name in start])
    assert float(step.norm()) == pytest.approx(0.05, rel=1e-3)


def test_networks_in_one_module_are_clipped_one_by_one() -> None:
    students = [
        trained_students(recipe(clip=0.05), batching=batching)
        for batching in (Batching.stacked, Batching.sequential)
    ]
    assert [len(each.modules) for each in students] == [1, 3]
    for one, other in zip(*(each.state_dicts() for each in students), strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-4, msg=name)


def trained_students(asked: Recipe, batching: Batching, families: str = "") -> training.Students:
    x, y = images()
    config = StudentConfig(width=8, norm=Norm.batch)
    return training.train_students(
        lambda: models.build(config, channels=3, num_classes=CLASSES, resolution=8),
        x.float().__getitem__,
        y,
        asked,
        epochs=asked.epochs,
        seeds=[1, 2, 3],
        augmentation=families,
        device=CPU,
        loop=plain_loop,
        batching=batching,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {
            "optimiser": Optimiser.nesterov,
            "augment": True,
            "augmentation": Augmentation.pad_crop,
            "rotation": 10.0,
        },
        {"ema": 0.8, "cutmix": True, "schedule": Schedule.one_cycle, "clip": 1.0},
    ],
    ids=["nesterov with padded crops", "averages, cutmix and clipping"],
)
def test_networks_together_equal_networks_one_by_one(fields: dict[str, Any]) -> None:
    asked = recipe(**fields)
    together = trained_students(asked, Batching.stacked, "crop_flip")
    apart = trained_students(asked, Batching.sequential, "crop_flip")
    for one, other in zip(together.state_dicts(), apart.state_dicts(), strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-4, msg=name)


def test_label_smoothing_is_torchs() -> None:
    net = fitted(recipe(), objective=training.LabelSmoothing(0.2))
    assert_close(net, last(ordinary(recipe(), Norm.instance, smoothing=0.2)))


@NORMS
def test_the_average_is_that_of_the_weights_after_each_step_and_starts_with_them(norm: Norm) -> None:
    decay, asked = 0.7, recipe(momentum=0.5)
    expected = {name: value.clone() for name, value in network(norm).state_dict().items()}
    for net in ordinary(asked, norm):
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value.clone()
    found = fitted(recipe(momentum=0.5, ema=decay), norm).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-9, rtol=1e-9, msg=name)


def test_hooks_see_the_average_and_training_goes_on_from_the_weights() -> None:
    seen: list[Tensor] = []
    net, asked = network(), recipe(ema=0.9)

    def look(_epoch: int, _loss: Tensor) -> None:
        seen.append(torch.cat([p.detach().flatten() for p in net.parameters()]))

    training.fit(
        net,
        batches(asked),
        asked,
        epochs=3,
        objective=training.CrossEntropy(),
        loop=plain_loop,
        on_epoch=look,
    )
    assert len(seen) == 4
    assert torch.equal(seen[-1], torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert_close(net, fitted(asked), 0)
    one = fitted(recipe(ema=0.9, epochs=1))
    assert torch.equal(seen[1], torch.cat([p.detach().flatten() for p in one.parameters()]))


def test_hooks_are_told_the_mean_loss_of_the_epoch_and_logs_each_steps() -> None:
    told, logged = [], []
    fitted(
        recipe(),
        on_epoch=lambda epoch, loss: told.append((epoch, float(loss))),
        log=lambda step, loss: logged.append((step, float(loss))),
    )
    assert [epoch for epoch, _ in told] == [0, 1, 2, 3]
    assert [step for step, _ in logged] == list(range(9))
    for epoch, loss in told[1:]:
        steps = [value for step, value in logged if step // 3 == epoch - 1]
        assert loss == pytest.approx(sum(steps) / 3, rel=1e-5)


@pytest.mark.parametrize("optimiser", list(Optimiser), ids=lambda optimiser: optimiser.name)
@pytest.mark.parametrize("stop", [0, 4, 6, 8], ids=lambda stop: f"step {stop}")
def test_going_on_equals_never_having_stopped(tmp_path: Path, optimiser: Optimiser, stop: int) -> None:
    """Bit for bit: weights, statistics, averages, what the objective learned, the hook's notes, curves."""
    asked = recipe(optimiser=optimiser, lr=0.01, ema=0.8, clip=1.0, cutmix=True, warmup=1.5)

    def trained(folder: Path, stops: bool) -> dict[str, Tensor]:
        net, objective, run = network(Norm.batch), Projected(), run_in(folder)
        notes = torch.zeros(asked.epochs + 1)

        def note(epoch: int, loss: Tensor) -> None:
            notes[epoch] = loss + net.state_dict()["classifier.weight"].sum()

        def log(step: int, loss: Tensor) -> None:
            run.log("train", step, loss=loss)
            run.interrupt.requested = stops and step == stop

        training.fit(
            net,
            batches(asked),
            asked,
            epochs=asked.epochs,
            objective=objective,
            loop=run.loop,
            name="train",
            on_epoch=note,
            log=log,
            state={"notes": notes},
        )
        owned = {f"objective {name}": value for name, value in objective.state_dict().items()}
        return {**net.state_dict(), **owned, "notes": notes[1:]}

    whole = trained(tmp_path / "whole", stops=False)
    with pytest.raises(Interrupted) if stop < 8 else nullcontext():
        trained(tmp_path / "parts", stops=True)
    parts = trained(tmp_path / "parts", stops=False)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    curves = [(tmp_path / folder / "metrics.jsonl").read_bytes() for folder in ("whole", "parts")]
    assert curves[0] == curves[1]
    assert curves[0].count(b"\n") == 9


def test_an_objectives_own_layers_learn_and_its_buffers_are_there_at_the_end() -> None:
    objective = Projected()
    before = [p.detach().clone() for p in objective.parameters()]
    fitted(recipe(), objective=objective)
    assert all(not torch.equal(p, b) for p, b in zip(objective.parameters(), before, strict=True))
    assert int(objective.seen) == 1 + 2 + 3


def test_batches_in_pieces_equal_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(recipe(), objective=training.LabelSmoothing(0.1))
    monkeypatch.setattr("distill_bench.training.batching.CPU_MAP", 3 * 4 * 8 * 64)
    assert_close(fitted(recipe(), objective=training.LabelSmoothing(0.1)), whole)


class Frozen(training.CrossEntropy):
    """An objective with a teacher that is registered with it."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = network().requires_grad_(False)


class Careless(training.CrossEntropy):
    """An objective that puts a new tensor in the place of its buffer."""

    begun: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("begun", torch.zeros(()))

    def begin_epoch(self, epoch: int) -> None:
        self.begun = torch.tensor(float(epoch))


def test_what_would_be_decayed_or_forgotten_in_silence_is_an_error() -> None:
    with pytest.raises(ValueError, match="frozen parameters"):
        fitted(recipe(), objective=Frozen())
    with pytest.raises(RuntimeError, match="in place"):
        fitted(recipe(), objective=Careless())


def test_objectives_that_learn_or_remember_belong_to_one_network() -> None:
    x, y = images()
    train = partial(
        training.train_students,
        network,
        x.__getitem__,
        y,
        recipe(epochs=1),
        epochs=1,
        augmentation="",
        device=CPU,
        loop=plain_loop,
    )
    with pytest.raises(ValueError, match="one network"):
        train(seeds=[1, 2], objective=Projected())
    assert len(train(seeds=[1], objective=Projected()).modules) == 1


@pytest.mark.parametrize(("drop_last", "steps"), [(True, 2), (False, 3)])
def test_the_last_smaller_batch_is_left_out_where_asked(drop_last: bool, steps: int) -> None:
    asked = recipe(drop_last=drop_last)
    sizes = [batch.images.shape[1] for batch in batches(asked).epoch(0)]
    assert sizes == [8, 8, 4][:steps]
    assert [batch.images.shape[1] for batch in batches(recipe(drop_last=True, batch_size=64)).epoch(0)] == [
        20
    ]


def test_an_epoch_can_be_entered_anywhere() -> None:
    asked = recipe(cutmix=True, augment=True)
    source = batches(asked, seeds=(1, 2), families="flip_scale_rotate")
    whole = list(source.epoch(3))
    for first in range(4):
        rest = list(source.epoch(3, first))
        assert len(rest) == 3 - first
        for a, b in zip(whole[first:], rest, strict=True):
            assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
            assert a.others is not None and b.others is not None and torch.equal(a.others, b.others)


def test_batches_know_where_their_images_stand_in_the_set() -> None:
    x, y = images()
    for batch in batches(recipe(), seeds=(1, 2)).epoch(0):
        assert batch.indices is not None
        assert torch.equal(batch.images, x[batch.indices]) and torch.equal(batch.labels, y[batch.indices])
        for piece in batch.split(3):
            assert piece.indices is not None and torch.equal(piece.images, x[piece.indices])
