"""Laws of the protocols: their tables, schedules, optimisers and labels, and that tables keep them apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill_bench import models, training
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import Batching, Initial, Norm, ProtocolConfig, StudentConfig
from distill_bench.metrics import Measure
from distill_bench.planning import compose, typed
from distill_bench.products import synthetic_set
from distill_bench.reporting import read_results
from distill_bench.reporting.cells import series_of
from distill_bench.reporting.layout import pivots
from distill_bench.reporting.table import rows
from distill_bench.seeding import generator
from distill_bench.training.batches import Batch, Batches
from distill_bench.training.crop import CropAugmentation
from distill_bench.training.objectives import SoftLabels, hard_loss, soft_loss
from distill_bench.training.optimisers import AdamW
from tests.reporting import build as made_up

CPU = torch.device("cpu")
MakeContext = Callable[..., Context]


def protocol(name: str) -> ProtocolConfig:
    """The protocol of an option, with its recipe."""
    config: ProtocolConfig = typed(ProtocolConfig, compose([f"protocol={name}"]).config.protocol, "protocol")
    return config


@pytest.mark.parametrize(
    ("ipc", "ten", "hundred", "more"),
    [
        (1, 3000, 2000, 3000),
        (2, 2000, 1300, 2000),
        (10, 2000, 1300, 2000),
        (20, 1500, 1000, 1500),
        (50, 1500, 1000, 1500),
        (70, 1000, 600, 1000),
        (200, 1000, 600, 1000),
        (500, 500, 300, 500),
        (501, 300, 200, 300),
        (1300, 300, 200, 300),
    ],
)
def test_minimax_trains_for_epochs_by_ipc_two_thirds_of_them_for_100_classes(
    ipc: int, ten: int, hundred: int, more: int
) -> None:
    hard = protocol("minimax_hard")
    assert [training.protocol_for(hard, ipc, classes).epochs for classes in (10, 100, 200)] == [
        ten,
        hundred,
        more,
    ]
    assert training.protocol_for(replace(hard, epoch_scale=10), ipc, 10).epochs == ten // 10
    assert training.protocol_for(replace(hard, epochs=7), ipc, 10).epochs == 7


def test_minimax_takes_other_rates_and_batches_above_100_classes() -> None:
    cells = [training.protocol_for(protocol("minimax_hard"), 10, classes) for classes in (10, 100, 101, 1000)]
    assert [(p.lr, p.weight_decay, p.batch_size) for p in cells] == [(0.01, 5e-4, 64)] * 2 + [
        (0.1, 1e-4, 128)
    ] * 2


@pytest.mark.parametrize(
    ("classes", "batches"), [(10, [10, 50, 100]), (100, [20, 100, 200]), (200, [100, 100, 100])]
)
def test_rded_takes_batches_by_ipc_and_classes(classes: int, batches: list[int]) -> None:
    cells = [training.protocol_for(protocol("rded_soft"), ipc, classes) for ipc in (1, 10, 50)]
    assert [p.batch_size for p in cells] == batches
    assert {p.epochs for p in cells} == {300}


def test_dc_has_two_names_and_no_tables() -> None:
    dc, long = protocol("dc"), protocol("dc_convnet")
    assert replace(long, name="dc") == dc == ProtocolConfig() == training.protocol_for(dc, 7, 33)


def test_what_a_class_changes_is_known() -> None:
    with pytest.raises(
        UserError,
        match=r"protocol.by_classes.100.batch_sise: unknown key; did you mean 'batch_size'\?.*allowed: ",
    ):
        ProtocolConfig(by_classes={100: {"batch_sise": 1.0}})
    with pytest.raises(UserError, match="epochs_by_ipc"):
        ProtocolConfig(epochs_by_ipc={0: 5})


def test_two_drops_come_at_two_thirds_and_five_sixths() -> None:
    hard = protocol("minimax_hard")
    rates = training.learning_rates(hard, 1500)
    assert len(rates) == 1500
    assert rates == [0.01] * 1000 + [pytest.approx(0.002)] * 250 + [pytest.approx(0.0004)] * 250


def test_half_a_cosine_starts_at_the_rate_and_ends_at_half_of_it() -> None:
    soft = protocol("rded_soft")
    rates = training.learning_rates(soft, 300)
    assert len(rates) == 300
    assert rates[0] == 0.001
    assert rates[150] == pytest.approx(0.001 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert rates[-1] == pytest.approx(0.0005, rel=0.01) and rates[-1] > 0.0005
    assert all(a > b for a, b in pairwise(rates))


def test_a_step_is_that_of_torchs_adamw_with_decay_on_matrices_alone() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GroupNorm(3, 3), nn.Flatten(), nn.Linear(27, 4)).double()
    for i, p in enumerate(net.parameters()):
        nn.init.normal_(p, generator=generator(0, "weights", i))
    theirs = copy.deepcopy(net)
    kinds: list[list[nn.Parameter]] = [[], []]
    for p in theirs.parameters():
        kinds[p.ndim > 1].append(p)
    groups = [{"params": kinds[0], "weight_decay": 0.0}, {"params": kinds[1], "weight_decay": 0.1}]
    optimiser = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.999))
    ours = AdamW(net, ProtocolConfig(weight_decay=0.1))
    x = torch.randn(5, 2, 5, 5, generator=generator(0, "x")).double()
    for _ in range(4):
        for module in (net, theirs):
            module(x).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        ours.step(0.02)
    for mine, other in zip(net.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_student_that_equals_its_teacher_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(6, 5, generator=generator(0, "logits")).double()
    student = logits.clone().requires_grad_()
    loss = soft_loss(student, logits, 20)
    (gradient,) = torch.autograd.grad(loss, student)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert float(gradient.abs().max()) < 1e-12
    assert float(soft_loss(logits.flip(1), logits, 20)) > 0


def test_the_soft_loss_is_that_of_torch_without_the_squared_temperature() -> None:
    s, t = torch.randn(2, 6, 5, generator=generator(1, "logits")).double()
    expected = F.kl_div(F.log_softmax(s / 20, 1), F.softmax(t / 20, 1), reduction="batchmean")
    torch.testing.assert_close(soft_loss(s, t, 20) / 6, expected)


def test_the_loss_of_mixed_images_weighs_both_labels_by_their_shares() -> None:
    logits = torch.randn(2, 3, 4, generator=generator(0, "logits"))
    own, other = torch.tensor([[0, 1, 2], [3, 3, 0]]), torch.tensor([[1, 2, 0], [3, 0, 3]])
    share = torch.tensor([0.25, 1.0])
    expected = sum(
        share[m] * F.cross_entropy(logits[m], own[m]) + (1 - share[m]) * F.cross_entropy(logits[m], other[m])
        for m in range(2)
    )
    batch = Batch(torch.zeros(2, 3, 1, 2, 2), own, other, share)
    torch.testing.assert_close(hard_loss(logits, batch) / 3, expected)
    parts = [
        hard_loss(piece_logits, piece)
        for piece_logits, piece in zip(logits.split(2, 1), batch.split(2), strict=True)
    ]
    torch.testing.assert_close(sum(parts) / 3, expected)


SMALL: dict[str, dict[str, Any]] = {
    "minimax_hard": {"batch_size": 16},
    "rded_soft": {"batch_by_ipc": {}, "batch_size": 16},
}


def train(
    name: str,
    *,
    seeds: tuple[int, ...] = (1, 2),
    batching: Batching = Batching.sequential,
    epochs: int = 6,
    loop: Callable[..., Iterator[int]] = lambda _name, total, _state: iter(range(total)),
    norm: Norm = Norm.instance,
    best: bool = True,
) -> training.Students:
    """Two small networks on twenty noisy patterns of three channels, by one of the protocols."""
    small = training.protocol_for(replace(protocol(name), **SMALL[name], best=best), 2, 10)
    data = Patterns()
    config, shape = StudentConfig(width=8, norm=norm), {"channels": 3, "num_classes": 10, "resolution": 8}
    build = lambda: models.build(config, **shape)  # noqa: E731
    teacher = training.initialise(build(), [9]).eval().requires_grad_(False) if name == "rded_soft" else None
    return training.train_students(
        build,
        lambda i: data.images[i],
        data.labels,
        small,
        epochs=epochs,
        seeds=list(seeds),
        augmentation="color_flip",
        device=CPU,
        loop=loop,
        batching=batching,
        colours=data,
        objective=SoftLabels(teacher, small.temperature) if teacher else None,
        test=data if small.best else None,
        readings=3,
    )


class Patterns:
    """Twenty images of ten patterns, which are their own test set and their own normalisation."""

    def __init__(self) -> None:
        draws = generator(0, "patterns")
        self.labels = torch.arange(10).repeat_interleave(2)
        patterns = torch.randn(10, 3, 8, 8, generator=draws)
        self.images = patterns[self.labels] + 0.3 * torch.randn(20, 3, 8, 8, generator=draws)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from zip(self.images.split(size), self.labels.split(size), strict=True)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return images_NCHW / 255

    def inverse(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return images_NCHW

    def state(self) -> dict[str, Any]:
        return {}

    def forward_unit(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return images_NCHW


def assert_same(a: training.Students, b: training.Students, tolerance: float) -> None:
    assert a.best == pytest.approx(b.best)
    for one, other in zip(a.state_dicts(), b.state_dicts(), strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], atol=tolerance, rtol=tolerance, msg=key)


@pytest.mark.parametrize("name", list(SMALL))
def test_networks_trained_together_equal_networks_trained_one_by_one(name: str) -> None:
    assert_same(train(name, batching=Batching.stacked), train(name), 1e-3 if name == "rded_soft" else 1e-4)
    alone = train(name, seeds=(2,))
    for key, value in train(name).state_dicts()[1].items():
        torch.testing.assert_close(alone.state_dicts()[0][key], value, atol=0, rtol=0)


@pytest.mark.parametrize("stop", [1, 2, 9])
@pytest.mark.parametrize("norm", [Norm.instance, Norm.batch], ids=lambda norm: norm.name)
@pytest.mark.parametrize("name", list(SMALL))
def test_resumed_training_equals_uninterrupted(name: str, norm: Norm, stop: int) -> None:
    saved: dict[str, Any] = {}

    def stopped(_name: str, total: int, state: dict[str, Any]) -> Iterator[int]:
        for step in range(total):
            if step == stop:
                saved.update(copy.deepcopy(state))
                raise KeyboardInterrupt
            yield step

    def resumed(_name: str, total: int, state: dict[str, Any]) -> Iterator[int]:
        with torch.no_grad():
            for key, tensor in state.items():
                tensor.copy_(saved[key])
        return iter(range(stop, total))

    whole = train(name, norm=norm, batching=Batching.stacked)
    with pytest.raises(KeyboardInterrupt):
        train(name, norm=norm, batching=Batching.stacked, loop=stopped)
    assert_same(train(name, norm=norm, batching=Batching.stacked, loop=resumed), whole, 0)


@pytest.mark.parametrize("name", list(SMALL))
def test_nothing_is_drawn_from_the_global_generator(name: str) -> None:
    students = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        students.append(train(name))
    assert_same(students[0], students[1], 0)


def test_looking_at_the_test_set_changes_no_network_and_finds_at_least_the_last_accuracy() -> None:
    for norm in (Norm.instance, Norm.batch):
        blind, seeing = train("minimax_hard", best=False, norm=norm), train("minimax_hard", norm=norm)
        assert not blind.best and len(seeing.best) == 2
        last = training.accuracies(seeing, Patterns())
        assert all(best >= value for best, value in zip(seeing.best, last, strict=True))
        assert_same(replace(seeing, best=[]), blind, 0)


def test_the_test_set_is_read_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    read, batches = [], Patterns.batches

    def counted(self: Patterns, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        read.append(size)
        return batches(self, size)

    monkeypatch.setattr(Patterns, "batches", counted)
    train("minimax_hard", seeds=(1,), epochs=20)
    assert len(read) == 3


def test_crops_mirror_only_where_the_data_sets_labels_allow_it() -> None:
    data = Patterns()
    for families, mirrored in (("crop_flip", True), ("crop_rotate", False)):
        batches = Batches(lambda i: data.images[i], data.labels, protocol("rded_soft"), [1], families, None)
        assert isinstance(batches.crop, CropAugmentation) and batches.crop.flip is mirrored


def evaluate(ctx: Context, lr: float | None = None) -> dict[str, list[float]]:
    """The measures of the first ten training images, by name."""
    images = ctx.dataset.train.pixels_at(torch.arange(10))
    student, asked = ctx.group(StudentConfig), ctx.group(ProtocolConfig)
    product = synthetic_set(ctx.dataset, images, lr=lr)
    measures = training.evaluate(ctx, ctx.dataset, product, student, asked, 1)
    return {measure.name: measure.values for measure in measures}


def test_only_a_protocol_that_asks_for_it_has_a_best_accuracy(context: MakeContext) -> None:
    words = [
        "method=random",
        "dataset=digits",
        "ipc=1",
        "profile=smoke",
        "protocol=minimax_hard",
        "protocol.students=[]",
    ]
    for asked in (True, False):
        ctx = context(*words, f"protocol.best={asked}", "protocol.readings=2")
        ctx.checkpoints.forget()
        measures = evaluate(ctx)
        assert set(measures) == ({"accuracy", "best_accuracy"} if asked else {"accuracy"})
        assert len(measures["accuracy"]) == 2


def test_a_rate_that_the_set_learned_replaces_the_protocols(context: MakeContext) -> None:
    ctx = context("method=random", "dataset=digits", "ipc=1", "profile=smoke", "protocol.epochs=20")

    def accuracy(rate: float | None) -> list[float]:
        ctx.checkpoints.forget()
        return evaluate(ctx, rate)["accuracy"]

    plain = accuracy(None)
    assert plain == accuracy(0.01)
    assert plain != accuracy(1.0)


def test_images_in_float_and_their_pixels_teach_the_same(context: MakeContext) -> None:
    ctx = context("method=random", "dataset=digits", "ipc=1", "profile=smoke")
    pixels = evaluate(ctx)
    ctx.checkpoints.forget()
    images = synthetic_set(ctx.dataset, ctx.dataset.train.images(torch.arange(10)))
    groups = ctx.group(StudentConfig), ctx.group(ProtocolConfig)
    (measure,) = training.evaluate(ctx, ctx.dataset, images, *groups, 1)
    assert measure.values == pixels["accuracy"]


def test_teachers_and_ceilings_are_the_same_networks_under_every_protocol() -> None:
    dc, hard, soft = (protocol(name).full_data() for name in ("dc", "minimax_hard", "rded_soft"))
    assert hard == soft == dc
    assert protocol("datadam").full_data().batch_size == 64


def test_a_field_that_the_network_has_not_retrains_nothing(context: MakeContext) -> None:
    """`student.width` of a ResNet is refused on the command line; a config of another making has one too."""
    data, dc = context("method=random", "dataset=digits", "ipc=1").dataset, ProtocolConfig()

    def parts(**fields: Any) -> dict[str, Any]:
        return training.student_parts(data, StudentConfig(**fields), dc)

    assert parts(name="resnet18", width=64) == parts(name="resnet18")
    assert parts(width=64) != parts()
    assert training.student_parts(data, StudentConfig(), replace(dc, nets=9)) == parts()
    assert training.student_parts(data, StudentConfig(), replace(dc, full_steps=9)) != parts()


def test_tables_keep_protocols_apart(tmp_path: Path) -> None:
    for name, value in (("minimax_hard", 30.0), ("rded_soft", 50.0)):
        measures = [made_up.measure("accuracy", value, student="convnet")]
        made_up.write(tmp_path, made_up.content("minimax", made_up.images(protocol=name), measures))
    found = read_results(tmp_path)
    series = series_of(found)
    assert sorted((s.protocol, s.summary.mean) for s in series) == [
        ("minimax_hard", 30.0),
        ("rded_soft", 50.0),
    ]
    tables = pivots(rows(found))
    assert sorted(table.protocol for table in tables) == ["minimax_hard", "rded_soft"]
    for table in tables:
        cells = [
            row for section in table.sections for line in section.lines.values() for row in line.values()
        ]
        assert {row.protocol for row in cells} == {table.protocol}


FIRST_WEIGHTS = ["protocol=minimax_hard", "protocol.lr=1e-30", "protocol.epochs=1", "protocol.nets=1"]


@pytest.mark.parametrize(
    ("student", "changed", "normal"),
    [
        ("resnetap10", [], True),
        ("convnet6", [], False),
        ("resnetap10", ["protocol.initial.resnetap10=uniform"], False),
    ],
    ids=["residual", "convnet", "asked for"],
)
def test_minimax_draws_the_convolutions_of_residual_networks_from_the_fan_out_law(
    context: MakeContext, student: str, changed: list[str], normal: bool
) -> None:
    """What students were before they learned (a rate of 1e-30 changes no bit): kernels have variance
    2 / (k^2 C_out), which reaches beyond the uniform law's 1 / sqrt(k^2 C_in); linear layers stay uniform."""
    ctx = context("method=random", "dataset=digits", f"student={student}", *FIRST_WEIGHTS, *changed)
    asked = replace(ctx.group(ProtocolConfig), students=[], best=False)
    images = torch.zeros(10, *ctx.dataset.train.images(torch.tensor([0])).shape[1:], dtype=torch.uint8)
    nets: list[nn.Module] = []

    def look(_: str, students: training.Students) -> list[Measure]:
        nets.extend(students.modules)
        return []

    product, network = synthetic_set(ctx.dataset, images), ctx.group(StudentConfig)
    training.evaluate(ctx, ctx.dataset, product, network, asked, 1, look=look)
    for module in nets[0].modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            kernel = module.weight.detach()
            bound = kernel[0].numel() ** -0.5
            if normal and isinstance(module, nn.Conv2d):
                deviation = math.sqrt(2 / kernel[:, 0].numel())
                assert abs(float(kernel.std()) / deviation - 1) < 4 / math.sqrt(2 * kernel.numel())
            else:
                assert float(kernel.abs().max()) <= bound * (1 + 1e-6)


def test_the_first_weights_are_no_part_of_the_teachers_and_of_products() -> None:
    asked = protocol("minimax_hard")
    plain = replace(asked, initial={})
    assert asked.product_identity() == plain.product_identity()
    assert asked.full_data().initial == {}
    assert asked.identity() != plain.identity()
    assert "initial" not in plain.identity()


def test_a_law_for_an_unknown_network_is_one_line() -> None:
    with pytest.raises(UserError, match=r"protocol\.initial\.resnet81: unknown network; did you mean"):
        ProtocolConfig(initial={"resnet81": Initial.uniform})


def test_rded_tests_on_enlarged_and_cropped_images_and_the_others_on_images_as_they_are(
    context: MakeContext,
) -> None:
    ctx = context("method=random", "dataset=digits", "ipc=1", "profile=smoke")
    for name in ("dc", "datadam", "minimax_hard", "rded_soft"):
        split = training.test_split(ctx.dataset, protocol(name))
        assert (split is not ctx.dataset.test) is (name == "rded_soft")
