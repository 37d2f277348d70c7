"""Laws of canvases: what is packed comes back, patches change places alone, each cell has its prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from distill_bench import models, training
from distill_bench.context import Context
from distill_bench.data import Normalise
from distill_bench.errors import UserError
from distill_bench.groups import IpcConfig, Pack, ProtocolConfig, StudentConfig
from distill_bench.metrics import Measure
from distill_bench.planning import Plan, compose, typed
from distill_bench.products import synthetic_set
from distill_bench.seeding import generator
from distill_bench.training.batches import Batch, Batches
from distill_bench.training.canvas import Patches, cut, join, pack, resized, sides
from distill_bench.training.crop import CropAugmentation
from distill_bench.training.cutmix import cutmix, draw_mix
from distill_bench.training.objectives import hard_loss
from tests.data.pictures import DATA_ROOT, on_disk

Planned = Callable[..., Plan]
MakeContext = Callable[..., Context]
RunCell = Callable[..., dict[str, Any]]

NETWORKS = ["convnet", "convnet6", "alexnet", "vgg11", "resnet18", "resnetap10", "resnet8", "wrn_16_1"]


def protocol() -> ProtocolConfig:
    config: ProtocolConfig = typed(
        ProtocolConfig, compose(["protocol=igds_patches"]).config.protocol, "protocol"
    )
    return config


def bytes_of(count: int, side: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, side, side), generator=generator(0, "bytes")).to(
        torch.uint8
    )


def quarters(canvases: torch.Tensor) -> list[torch.Tensor]:
    """Top left, bottom left, top right, bottom right."""
    half = canvases.shape[-1] // 2
    left, right = canvases.split(half, dim=3)
    return [*left.split(half, dim=2), *right.split(half, dim=2)]


@pytest.mark.parametrize("how", list(Pack))
def test_what_is_packed_comes_back_in_the_order_of_the_columns(how: Pack) -> None:
    images, labels = bytes_of(12), torch.tensor([0] * 4 + [1] * 8)
    canvases, own = pack(images, labels, 2, how)
    side = 8 if how is Pack.downscale else 16
    assert canvases.shape == (3, 3, side, side) and canvases.dtype == torch.uint8
    assert own.tolist() == [0, 1, 1] and canvases[0, 0].numel() == side * side
    sums = images.unflatten(3, (4, 2)).unflatten(2, (4, 2)).long().sum((3, 5))
    expected = images if how is Pack.stack else (sums / 4).round().to(torch.uint8)
    for place, quarter in enumerate(quarters(canvases)):
        assert torch.equal(quarter, expected[place::4])
    assert torch.equal(cut(canvases, 2).flatten(0, 1), expected)


def test_a_constant_image_stays_constant_and_learned_images_are_not_rounded() -> None:
    labels = torch.zeros(4, dtype=torch.long)
    assert (pack(torch.full((4, 1, 8, 8), 77, dtype=torch.uint8), labels, 2, Pack.downscale)[0] == 77).all()
    learned = torch.randn(4, 1, 8, 8, generator=generator(0, "learned"))
    assert torch.equal(pack(learned, labels, 2, Pack.downscale)[0][0, :, :4, :4], F.avg_pool2d(learned[0], 2))


@pytest.mark.parametrize(("canvas", "counts"), [(2, (9, 4, 7, 3)), (3, (9, 19, 8))])
def test_what_is_left_of_a_class_is_dropped(canvas: int, counts: tuple[int, ...]) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    numbers = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    for order in (torch.arange(len(labels)), torch.randperm(len(labels), generator=generator(0, "order"))):
        canvases, own = pack(numbers[order], labels[order], canvas, Pack.stack)
        assert own.bincount(minlength=len(counts)).tolist() == [count // canvas**2 for count in counts]
        seen = cut(canvases, canvas)[:, :, 0, 0, 0]
        assert len(seen.unique()) == seen.numel()
        assert torch.equal(labels[seen.long()], own[:, None].expand(seen.shape))


def test_cut_undoes_join_for_every_number_of_parts() -> None:
    for canvas in (1, 2, 3, 4):
        parts = torch.rand(2, canvas**2, 3, 4, 4, generator=generator(0, "parts"))
        assert torch.equal(cut(join(parts, canvas), canvas), parts)


def patches(area: float = 1.0, jitter: float = 0.0, lighting: float = 0.0, flip: bool = False) -> Patches:
    transform = Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    return Patches(CropAugmentation(transform, area, flip, jitter, lighting), 2)


def test_without_augmentation_the_quarters_change_places_in_24_equally_likely_orders() -> None:
    count = 24_000
    canvases = join(torch.arange(4.0).view(1, 4, 1, 1, 1).expand(count, 4, 1, 2, 2), 2)
    shuffle = patches()
    orders = cut(shuffle(canvases, shuffle.draw(count, generator(0, "shuffle"))), 2)[:, :, 0, 0, 0]
    seen = Counter(map(tuple, orders.int().tolist()))
    assert len(seen) == 24
    chi_square = sum((n - 1000) ** 2 / 1000 for n in seen.values())
    assert chi_square < 49.7  # 23 degrees of freedom: beyond it once in a thousand


def test_a_change_of_one_quarter_is_seen_only_where_it_lands() -> None:
    augment = patches(area=0.5, jitter=0.4, lighting=0.1, flip=True)
    canvases = torch.randn(6, 3, 16, 16, generator=generator(0, "canvases"))
    random = augment.draw(6, generator(1, "random"))
    changed = canvases.clone()
    changed[..., 8:, :8] += 1.0  # the second in the order: bottom left
    before, after = (cut(augment(x, random), 2) for x in (canvases, changed))
    moved = (before != after).flatten(2).any(2)
    assert (moved.sum(1) == 1).all()
    assert torch.equal(moved.int().argmax(1), (random[:, :4].argsort(1) == 1).int().argmax(1))


def test_each_quarter_is_augmented_as_an_image_of_its_own() -> None:
    augment = patches(area=0.5, jitter=0.4, lighting=0.1, flip=True)
    canvases = torch.randn(3, 3, 16, 16, generator=generator(0, "canvases"))
    random = augment.draw(3, generator(1, "random"))
    result = cut(augment(canvases, random), 2)
    places = random[:, :4].argsort(1)
    for i in range(3):
        alone = augment.each(cut(canvases, 2)[i, places[i]], random[i, 4:].view(4, -1))
        assert torch.allclose(result[i], alone, atol=1e-6)


def test_canvases_of_a_batch_keep_their_labels_and_their_quarters() -> None:
    labels = torch.arange(5).repeat_interleave(2)
    images = join((labels[:, None] * 4 + torch.arange(4.0)).view(10, 4, 1, 1, 1).expand(-1, -1, 1, 4, 4), 2)
    plain = replace(protocol(), crop_area=1.0, cutmix=False, batch_size=4)
    batches = Batches(images.__getitem__, labels, plain, [1, 2], "", None, canvas=2)
    for epoch in (0, 1):
        for batch in batches.epoch(epoch):
            values = cut(batch.images.flatten(0, 1), 2)[:, :, 0, 0, 0].sort(1).values
            expected = batch.labels.flatten()[:, None] * 4 + torch.arange(4.0)
            assert torch.equal(values, expected)


def network(name: str, side: int) -> Any:
    net = models.build(StudentConfig(name=name, width=8), channels=3, num_classes=5, resolution=side, cells=2)
    models.reinitialise(net, generator(3, "weights"))
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_of_the_cells_logits_is_the_evaluations(name: str) -> None:
    net = network(name, 32).double().eval()
    x = torch.randn(3, 3, 32, 32, generator=generator(0, "x"), dtype=torch.double)
    whole = net(x)
    net.training = True  # of the head alone: batch norm stays in evaluation
    cells = net(x)
    assert cells.shape == (3, 4, 5) and whole.shape == (3, 5)
    assert torch.allclose(cells.mean(1), whole, atol=1e-10)
    cells.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.classifier.parameters())


def test_cells_are_predicted_in_the_order_of_the_quarters() -> None:
    """A last map with one channel lit in one quarter has the other logits of the bias alone."""
    net = network("resnetap10", 32).train()
    bias = net.classifier.bias
    for place in range(4):
        parts = torch.zeros(1, 4, 512, 2, 2)
        parts[:, place] = 1
        logits = net._logits_of_cells(join(parts, 2))[0]
        lit = (logits - bias).abs().sum(1) > 1e-3
        assert lit.tolist() == [cell == place for cell in range(4)]


@pytest.mark.parametrize("name", ["convnet", "resnetap10"])
def test_networks_with_cells_side_by_side_equal_each_on_its_own(name: str) -> None:
    net = network(name, 16)
    together = training.initialise(network(name, 16), [1, 2])
    x = torch.randn(2, 4, 3, 16, 16, generator=generator(0, "x"))
    both, single = together.train()(x), []
    for seed, own in zip((1, 2), x, strict=True):
        single.append(training.initialise(net, [seed]).train()(own).detach())
    assert both.shape == (2, 4, 4, 5)
    assert torch.allclose(both, torch.stack(single), atol=1e-5)
    assert together.eval()(x).shape == (2, 4, 5)


def test_without_cells_no_network_changes() -> None:
    plain = models.build(StudentConfig(), channels=3, num_classes=10, resolution=32)
    assert sum(p.numel() for p in plain.parameters()) == 320_010
    assert plain.train()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_network_without_a_map_of_cells_is_refused() -> None:
    with pytest.raises(UserError, match=r"^student=mlp: its last map has no 2x2 positions"):
        network("mlp", 32)
    with pytest.raises(UserError, match=r"^student=resnet10t: must be a network that is not timm's"):
        network("resnet10t", 32)


def batch_of(share: float | None) -> Batch:
    draws = generator(0, "batch")
    labels, others = (torch.randint(0, 5, (2, 6), generator=draws) for _ in range(2))
    images = torch.zeros(2, 6, 3, 4, 4)
    return (
        Batch(images, labels) if share is None else Batch(images, labels, others, torch.tensor([share, 0.2]))
    )


@pytest.mark.parametrize("share", [None, 0.7])
def test_the_loss_is_the_mean_over_all_predictions_in_any_order(share: float | None) -> None:
    batch = batch_of(share)
    logits = torch.randn(2, 6, 4, 5, generator=generator(1, "logits"), dtype=torch.double)
    loss = hard_loss(logits, batch)
    by_place = [hard_loss(logits[:, :, place], batch) for place in range(4)]
    assert torch.allclose(loss, torch.stack(by_place).mean(), atol=1e-12)
    assert torch.allclose(hard_loss(logits[:, :, [2, 0, 3, 1]], batch), loss, atol=1e-12)
    same = logits[:, :, :1].expand_as(logits)
    assert torch.allclose(hard_loss(same, batch), by_place[0], atol=1e-12)


def test_the_mean_of_the_shares_of_the_quarters_is_the_canvases_share() -> None:
    draws = generator(0, "mix")
    for _ in range(200):
        mix = draw_mix(3, (16, 16), draws)
        top, bottom, left, right = mix.box
        kept = torch.ones(1, 1, 16, 16)
        kept[..., top:bottom, left:right] = 0
        of_quarters = cut(kept, 2).mean((0, 2, 3, 4))
        assert float(of_quarters.mean()) == pytest.approx(mix.share((16, 16)), abs=1e-6)
        assert 0 <= mix.share((16, 16)) <= 1
    images = torch.zeros(1, 3, 1, 16, 16)
    assert cutmix(images, [draw_mix(3, (16, 16), draws)])[2].shape == (1,)  # one share a network's batch


@pytest.mark.parametrize(("canvases", "epochs"), [(1, 3000), (2, 2000), (10, 2000), (50, 1500), (200, 1000)])
def test_epochs_are_those_of_the_number_of_canvases(canvases: int, epochs: int) -> None:
    assert training.protocol_for(protocol(), canvases, 10).epochs == epochs


def test_a_convnet_learns_from_its_patches() -> None:
    """The published head of a ConvNet leaves its classifier untouched; this one's loss falls."""
    labels = torch.arange(4).repeat_interleave(2)
    patterns = torch.randn(4, 3, 8, 8, generator=generator(0, "patterns"))
    canvases = join(patterns[labels][:, None].expand(-1, 4, -1, -1, -1), 2)
    plain = replace(protocol(), cutmix=False, lr=0.2, batch_size=8, crop_area=1.0)
    losses: list[float] = []
    training.train_students(
        lambda: models.build(StudentConfig(width=16), channels=3, num_classes=4, resolution=16, cells=2),
        canvases.__getitem__,
        labels,
        plain,
        epochs=60,
        seeds=[0],
        augmentation="",
        device=torch.device("cpu"),
        loop=lambda _, total, __: iter(range(total)),
        log=lambda _, loss: losses.append(float(loss)),
    )
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("how", "expected"), [(Pack.downscale, (32, 16)), (Pack.stack, (64, 64))], ids=lambda x: str(x)
)
def test_the_other_scale_is_that_which_test_images_as_they_are_do_not_have(
    how: Pack, expected: tuple[int, int]
) -> None:
    assert sides(32, 2, how) == expected
    images = torch.rand(2, 3, 32, 32, generator=generator(0, "images"))
    if how is Pack.downscale:
        assert torch.allclose(resized(images, 16), F.avg_pool2d(images, 2), atol=1e-6)
    assert resized(images, expected[1]).shape[-1] == expected[1]


def test_a_network_too_deep_for_small_images_is_not_tested_on_them() -> None:
    assert models.keeps_positions(network("convnet", 32), (3, 16, 16))
    assert not models.keeps_positions(network("convnet6", 32), (3, 16, 16))
    assert not models.keeps_positions(network("alexnet", 8), (3, 2, 2))


# planning


def test_the_protocol_says_how_many_images_a_method_makes(plan: Planned) -> None:
    packed = plan("method=random", "dataset=digits", "ipc=10", "protocol=igds_patches")
    ipc = packed.product.groups["ipc"]
    assert (ipc.images_per_class, ipc.canvas, ipc.drawn) == (10, 2, 40)
    assert packed.axes["ipc"] == "10x4" and "_ipc10x4_" in packed.product.product_id
    assert packed.settings == {}


@pytest.mark.parametrize("protocol", ["dc", "minimax_hard"])
def test_what_is_not_packed_has_the_identity_that_it_had(plan: Planned, protocol: str) -> None:
    alone = plan("method=random", "dataset=digits", "ipc=10", f"protocol={protocol}")
    assert "canvas" not in alone.product.groups["ipc"].identity() and alone.axes["ipc"] == 10
    assert not {"canvas", "pack"} & alone.measured_with["protocol"].identity().keys()
    again = plan("method=random", "dataset=digits", "ipc=10", f"protocol={protocol}", "ipc.canvas=1")
    assert again.run_id == alone.run_id


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ipc.canvas=2",), r"ipc.canvas=2: must be 1, .* of protocol=dc$"),
        (("ipc.canvas=1", "protocol=igds_patches"), r"ipc.canvas=1: must be 2, .* of protocol=igds_patches$"),
        (("ipc.canvas=0",), "ipc.canvas=0: must be >= 1"),
        (("protocol.canvas=2",), "protocol.augmentation=siamese: must be crop for protocol.canvas=2"),
        (("protocol.pack=stack",), "protocol.pack: not used by protocol=dc"),
        (
            ("protocol=igds_patches", "protocol.labels=soft"),
            "protocol.labels=soft: must be hard for protocol.canvas=2",
        ),
        (("protocol=igds_patches", "dataset.zca=true"), "dataset.zca=True: must be false for canvases"),
        (
            ("protocol=igds_patches", "ipc=50"),
            "ipc.images_per_class=50: must be at most 29, .* of digits, 4 on a canvas",
        ),
        (
            ("protocol=igds_patches", "protocol.canvas=3"),
            "dataset.resolution=8: must be a multiple of 3 for protocol.pack=downscale",
        ),
    ],
)
def test_canvases_that_make_no_sense_are_one_line(
    plan: Planned, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan("method=random", "dataset=digits", *words)
    assert "\n" not in str(caught.value)


def test_the_pool_of_a_selection_is_not_packed(plan: Planned) -> None:
    packed = plan("method=difficulty", "dataset=digits", "ipc=2", "protocol=igds_patches")
    ((_, pool),) = packed.product.parts
    assert pool.groups["ipc"] == IpcConfig(images_per_class=40)  # type: ignore[union-attr]


# runs


@pytest.mark.parametrize("method", ["random", "diffusion", "igds"])
def test_every_kind_of_method_is_measured_on_canvases(method: str, run_cell: RunCell) -> None:
    words = (f"method={method}", "dataset=digits", "profile=smoke", "ipc=2", "protocol.students=[]")
    result = run_cell(*words, "protocol=igds_patches")
    found = {(m["name"], m["facets"].get("side", "")): m["values"] for m in result["measures"]}
    assert {("accuracy", ""), ("accuracy", "4"), ("best_accuracy", "")} <= found.keys()
    assert all(len(values) == 2 for (name, _), values in found.items() if "accuracy" in name)
    assert result["axes"]["ipc"] == "2x4"


def evaluated(ctx: Context, per_class: int, asked: ProtocolConfig, student: StudentConfig) -> list[Measure]:
    """What networks learn of the first real images of each class."""
    indices = ctx.dataset.train.class_indices[:, :per_class].flatten()
    product = synthetic_set(ctx.dataset, ctx.dataset.train.pixels_at(indices))
    canvases = per_class // asked.canvas**2
    return training.evaluate(ctx, ctx.dataset, product, student, asked, canvases)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how", "other", "least"),
    [("digits", Pack.stack, "16", 30), ("cifar10", Pack.downscale, "16", 11)],
)
def test_students_of_packed_real_images_beat_chance(
    context: MakeContext, name: str, how: Pack, other: str, least: float
) -> None:
    """Ten canvases of real images a class, 300 steps; no ranking of the two scales is asserted."""
    on_disk(name)
    words = ("method=random", f"dataset={name}", "protocol=igds_patches", "ipc=10", f"data_root={DATA_ROOT}")
    asked = replace(protocol(), students=[], epochs=150, nets=1, best=False, pack=how, lr=0.05)
    measures = evaluated(context(*words), 40, asked, StudentConfig(width=32))
    values = {measure.facets.get("side", ""): measure.values[0] for measure in measures}
    assert values.keys() == {"", other} and max(values.values()) > least, values
