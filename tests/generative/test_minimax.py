"""The two criteria of Minimax and their memories, what DiffFit tunes, and a tuning that can be stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.catalogue import method_module
from distill_bench.context import Context
from distill_bench.files import save_tensors
from distill_bench.generative.architectures import ARCHITECTURES, DenoiserArchitecture
from distill_bench.generative.minimax import (
    Memory,
    average_decay,
    closest_match,
    trainable_parameters,
    worst_match,
)
from distill_bench.generative.networks import build_network
from distill_bench.interrupt import Interrupted
from tests.generative.rooms import prior_of, tuned_of

MakeContext = Callable[..., Context]
Criterion = Callable[[Tensor, Tensor, Memory], Tensor]
BOTH = pytest.mark.parametrize("criterion", [worst_match, closest_match])
SHORT = ["method=minimax", "dataset=digits", "ipc=1", "generator.train_steps=40", "generator.width=16"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(pushes: int = 3, classes: int = 4, size: int = 5, elements: int = 6) -> Memory:
    """A memory of random vectors; the last class is never pushed."""
    memory = Memory(classes, size, elements)
    for i in range(pushes):
        memory.push(draw(8, elements, seed=10 + i), torch.arange(8) % (classes - 1))
    return memory


def obvious(x0h_BD: Tensor, labels_B: Tensor, memories: dict[int, list[Tensor]]) -> tuple[float, float]:
    """Both criteria as they are written, one pair at a time."""
    present = sorted(set(labels_B.tolist()))
    worst = closest = 0.0
    for k in present:
        pairs = [
            float(F.cosine_similarity(x, m, dim=0))
            for x in x0h_BD[labels_B == k]
            for m in memories.get(k, [])
        ]
        if pairs:
            worst += (1 - min(pairs)) / len(present)
            closest += max(pairs) / len(present)
    return worst, closest


@pytest.mark.parametrize("batch", [1, 8, 40], ids=lambda size: f"batches of {size}")
def test_memories_and_criteria_are_those_of_lists(batch: int) -> None:
    classes, size, elements = 5, 6, 7
    memory, lists = Memory(classes, size, elements), dict[int, list[Tensor]]()
    for step in range(12):
        x_BD = draw(batch, elements, seed=step)
        labels_B = torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(step))
        found = float(worst_match(x_BD, labels_B, memory)), float(closest_match(x_BD, labels_B, memory))
        assert found == pytest.approx(obvious(x_BD, labels_B, lists), abs=1e-5)
        memory.push(x_BD, labels_B)
        for x, k in zip(x_BD, labels_B.tolist(), strict=True):
            lists[k] = [*lists.get(k, []), x][-size:]
    units = memory.units[:-1].unflatten(0, (classes, size))
    for k, kept in lists.items():
        count = min(int(memory.pushed[k]), size)
        ours = units[k, :count].sort(0).values
        assert torch.allclose(ours, F.normalize(torch.stack(kept), dim=1).sort(0).values, atol=1e-6)


@BOTH
def test_the_length_of_a_vector_does_not_matter(criterion: Criterion) -> None:
    x_BD, labels_B = draw(6, 6), torch.tensor([0, 0, 1, 1, 2, 3])
    lengths = torch.tensor([0.1, 3.0, 1.0, 20.0, 5.0, 7.0])[:, None]
    short, long = Memory(4, 5, 6), Memory(4, 5, 6)
    short.push(draw(8, 6, seed=3), torch.arange(8) % 3)
    long.push(50 * draw(8, 6, seed=3), torch.arange(8) % 3)
    assert torch.allclose(
        criterion(x_BD, labels_B, short), criterion(lengths * x_BD, labels_B, long), atol=1e-6
    )


def test_where_everything_is_one_vector_nothing_is_unlike_and_everything_too_close() -> None:
    memory, same, labels = Memory(2, 3, 5), draw(1, 5).expand(4, 5), torch.tensor([0, 0, 1, 1])
    memory.push(same, labels)
    assert float(worst_match(same, labels, memory)) == pytest.approx(0.0, abs=1e-6)
    assert float(closest_match(same, labels, memory)) == pytest.approx(1.0, abs=1e-6)
    assert float(worst_match(-same, labels, memory)) == pytest.approx(2.0, abs=1e-6)
    assert float(closest_match(-same, labels, memory)) == pytest.approx(-1.0, abs=1e-6)


@BOTH
def test_a_class_that_is_met_for_the_first_time_adds_nothing(criterion: Criterion) -> None:
    memory, x_BD = filled(), draw(4, 6).requires_grad_()
    alone = criterion(x_BD, torch.tensor([3, 3, 3, 3]), memory)
    alone.backward()
    assert not alone.any()
    assert x_BD.grad is not None and not x_BD.grad.any()
    known = criterion(x_BD, torch.tensor([0, 0, 0, 0]), memory)
    mixed = criterion(torch.cat([x_BD, x_BD]), torch.tensor([0] * 4 + [3] * 4), memory)
    assert known.any()
    assert torch.allclose(mixed, known / 2)  # it still counts among the classes of the batch


@BOTH
def test_the_gradient_reaches_one_image_of_each_class_and_no_memory(criterion: Criterion) -> None:
    memory, labels_B = filled(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    memory.push(draw(8, 6).requires_grad_(), labels_B)
    assert not memory.units.requires_grad
    x_BD = draw(8, 6, seed=5).requires_grad_()
    criterion(x_BD, labels_B, memory).backward()
    assert x_BD.grad is not None
    reached = labels_B[x_BD.grad.norm(dim=1) > 0]
    assert sorted(reached.tolist()) == [0, 1, 2]


@BOTH
def test_images_that_tie_share_nothing(criterion: Criterion) -> None:
    x_BD = draw(1, 6).repeat(4, 1).requires_grad_()
    criterion(x_BD, torch.zeros(4, dtype=torch.long), filled()).backward()
    assert x_BD.grad is not None
    assert int((x_BD.grad.norm(dim=1) > 0).sum()) == 1


def test_a_memory_is_never_longer_than_its_size_and_forgets_the_oldest() -> None:
    memory = Memory(1, 3, 2)
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    counts = []
    for vector in vectors:
        memory.push(vector[None], torch.tensor([0]))
        counts.append(int(memory.held(torch.tensor([0])).sum()))
    assert counts == [1, 2, 3, 3]
    kept = {tuple(row) for row in memory.units[:-1].tolist()}
    assert kept == {(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)}


def test_the_average_of_a_short_run_keeps_the_published_share_of_the_start() -> None:
    assert average_decay(0.9999, 12_000) == 0.9999
    assert average_decay(0.9999, 100_000) == 0.9999
    published = 0.9999**12_000
    for iterations in (100, 1000, 12_000):
        assert average_decay(0.9999, iterations) ** iterations == pytest.approx(published, rel=0.02)
    assert average_decay(0.9999, 1) == 0


def test_difffit_tunes_biases_embeddings_and_scales_and_changes_no_bit_at_first() -> None:
    torch.manual_seed(0)
    architecture = DenoiserArchitecture(network="dit", width=16, depth=4, patch=2, batch=4, lr=1e-3)
    network: Any = build_network(architecture, (1, 8, 8), 10).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    inputs = draw(3, 1, 8, 8), torch.tensor([0, 500, 999]), torch.tensor([0, 5, 10])
    before = network(*inputs)
    chosen = trainable_parameters(network, difffit=True)
    assert torch.equal(network(*inputs), before)
    kinds = {
        name.rsplit(".", 1)[1] if not name.endswith("embedding_table.weight") else "labels" for name in chosen
    }
    assert kinds == {"bias", "gamma", "labels"}
    scaled = {name.split("transformer_blocks.")[1].split(".")[0] for name in chosen if name.endswith("gamma")}
    assert scaled == {"0", "1"}
    assert sum(name.endswith("gamma") for name in chosen) == 2 * 6
    assert {name for name, p in network.named_parameters() if p.requires_grad} == set(chosen)
    network(*inputs).sum().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in chosen.items() if n.endswith("gamma"))


@pytest.mark.parametrize("name", ["digits8_mlp", "digits8_unet"])
def test_a_small_network_is_tuned_by_the_same_rule_or_whole(name: str) -> None:
    network = build_network(ARCHITECTURES[name], (1, 8, 8), 10)
    some = trainable_parameters(network, difffit=True)
    assert any(p.shape[:1] == (11,) for p in some.values())  # the label embedding with its null row
    assert sum(p.numel() for p in some.values()) < 0.1 * sum(p.numel() for p in network.parameters())
    assert len(trainable_parameters(network, difffit=False)) == len(list(network.parameters()))


def settings(**changes: Any) -> Any:
    return method_module("minimax").Config(**{"iterations": 6, **changes})


def weights_of(prior: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in prior.network.state_dict().items()}


def test_without_iterations_the_prior_is_what_it_was(context: MakeContext) -> None:
    ctx = context(*SHORT)
    plain, tuned = (
        weights_of(prior_of(ctx)),
        weights_of(tuned_of(ctx, settings(iterations=0))),
    )
    assert all(torch.equal(plain[name], tuned[name]) for name in plain)


def test_only_the_chosen_parameters_are_tuned_whatever_the_seed_and_the_size(context: MakeContext) -> None:
    ctx = context(*SHORT)
    plain, tuned = weights_of(prior_of(ctx)), tuned_of(ctx, settings())
    assert not any(parameter.requires_grad for parameter in tuned.network.parameters())
    changed = {name for name, value in weights_of(tuned).items() if not torch.equal(value, plain[name])}
    assert changed == {name for name in plain if name.endswith("bias") or name == "label.weight"}
    other = context(*SHORT, "seed=3", "ipc.images_per_class=7")
    made = len(list((ctx.cache.root / "minimax").glob("*.safetensors")))
    again = weights_of(tuned_of(other, settings()))
    assert all(torch.equal(value, again[name]) for name, value in weights_of(tuned).items())
    assert len(list((ctx.cache.root / "minimax").glob("*.safetensors"))) == made == 1


def test_other_weights_in_the_same_place_are_tuned_anew_and_the_same_elsewhere_are_not(
    context: MakeContext, tmp_path: Path
) -> None:
    ctx = context(*SHORT)
    weights = prior_of(ctx).network.state_dict()
    file, copy = tmp_path / "weights.safetensors", tmp_path / "copy" / "weights.safetensors"

    def tuned(path: Path) -> dict[str, Tensor]:
        return weights_of(tuned_of(context(*SHORT, f"generator.path={path}"), settings(iterations=2)))

    def tunings() -> int:
        return len(list((ctx.cache.root / "minimax").glob("*.safetensors")))

    save_tensors(file, {"weights": weights}, {})
    first = tuned(file)
    copy.parent.mkdir()
    shutil.copy2(file, copy)
    assert all(torch.equal(value, first[name]) for name, value in tuned(copy).items())
    assert tunings() == 1
    save_tensors(file, {"weights": {name: value + 0.1 for name, value in weights.items()}}, {})
    assert not torch.equal(tuned(file)["label.weight"], first["label.weight"])
    assert tunings() == 2


def test_a_tuning_that_is_stopped_gives_the_same_bits_as_one_that_is_not(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(*SHORT, "checkpoint_seconds=0")
    whole = weights_of(tuned_of(ctx, settings(memory=2)))
    for file in (*(ctx.cache.root / "minimax").iterdir(), *ctx.folder.glob("checkpoint-*")):
        file.unlink()
    push, pushes = Memory.push, list[None]()

    def stopping(self: Memory, x_BD: Tensor, labels_B: Tensor) -> None:
        push(self, x_BD, labels_B)
        pushes.append(None)
        ctx.interrupt.requested = len(pushes) == 6  # two memories: in the third step

    monkeypatch.setattr(Memory, "push", stopping)
    with pytest.raises(Interrupted):
        tuned_of(ctx, settings(memory=2))
    ctx.interrupt.requested = False
    monkeypatch.setattr(Memory, "push", push)
    rest = weights_of(tuned_of(ctx, settings(memory=2)))
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_each_criterion_moves_what_it_names(context: MakeContext) -> None:
    ctx = context(
        "method=minimax", "dataset=digits", "ipc=1", "generator.train_steps=150", "generator.width=32"
    )
    everything = {
        "iterations": 60,
        "batch": 32,
        "ema": 0.9,
        "trainable": method_module("minimax").Trainable.all,
    }
    labels = torch.arange(200) % 10
    indices = ctx.dataset.train.sample_per_class(20, torch.Generator().manual_seed(0)).flatten()
    real = F.normalize((ctx.dataset.train.unit(indices) * 2 - 1).flatten(1), dim=1)
    of_class = labels[:, None] == torch.arange(10).repeat_interleave(20)
    of_one_another = (labels[:, None] == labels) & ~torch.eye(200, dtype=torch.bool)

    def cosines(lambda_r: float, lambda_d: float) -> tuple[float, float]:
        """Of predictions at high noise: the worst with real images of the class, and the mean with one
        another."""
        prior = tuned_of(ctx, settings(**everything, lambda_r=lambda_r, lambda_d=lambda_d))
        with torch.no_grad():
            x0h, _ = prior.predict(draw(200, *prior.shape), torch.full((200,), 900), labels)
        drawn = F.normalize(x0h.flatten(1), dim=1)
        worst = (drawn @ real.T).masked_fill(~of_class, 2.0).min(1).values
        return float(worst.mean()), float((drawn @ drawn.T)[of_one_another].mean())

    plain_worst, plain_close = cosines(0.0, 0.0)
    assert cosines(2.0, 0.0)[0] > plain_worst + 0.005
    assert cosines(0.0, 0.2)[1] < plain_close - 0.2
