"""Laws of the evaluation: schedule, independence of batching, resumption, repetition."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from distill_bench import models, training
from distill_bench.errors import UserError
from distill_bench.groups import Batching, Norm, ProtocolConfig, StudentConfig
from distill_bench.seeding import generator
from distill_bench.training.batching import CPU_MAP, images_per_pass, networks_together
from distill_bench.training.optimisers import Sgd

CPU = torch.device("cpu")
FAMILIES = "color_crop_cutout_scale_rotate"
PROTOCOL = ProtocolConfig(batch_size=16)


class Digits:
    """Real digits: twenty to train on, some hundred to test."""

    def __init__(self) -> None:
        digits = load_digits()
        x = torch.tensor(digits.images, dtype=torch.float32)[:, None]
        x, y = (x - x.mean()) / x.std(), torch.tensor(digits.target)
        first = torch.cat([(y[:1200] == k).nonzero()[:2, 0] for k in range(10)])
        self.images, self.labels = x[first], y[first]
        self.test = (x[1200:1500], y[1200:1500])
        self.read = 0

    def __len__(self) -> int:
        return len(self.test[0])

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for part in zip(*(tensor.split(size) for tensor in self.test), strict=True):
            self.read += 1
            yield part


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def plain_loop(_name: str, total: int, _state: dict[str, Any]) -> Iterator[int]:
    return iter(range(total))


def train(
    digits: Digits,
    protocol: ProtocolConfig = PROTOCOL,
    *,
    norm: Norm = Norm.instance,
    epochs: int = 3,
    seeds: tuple[int, ...] = (1, 2, 3),
    loop: Callable[..., Iterator[int]] = plain_loop,
    name: str = "convnet",
    batching: Batching = Batching.sequential,
) -> training.Students:
    config = StudentConfig(name=name, width=8, norm=norm)
    return training.train_students(
        lambda: models.build(config, channels=1, num_classes=10, resolution=8),
        lambda indices: digits.images[indices],
        digits.labels,
        protocol,
        epochs=epochs,
        seeds=list(seeds),
        augmentation=FAMILIES,
        device=CPU,
        loop=loop,
        batching=batching,
    )


def assert_same(a: training.Students, b: training.Students, tolerance: float) -> None:
    for one, other in zip(a.state_dicts(), b.state_dicts(), strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], atol=tolerance, rtol=tolerance, msg=name)


def test_the_rate_is_high_for_502_epochs_and_low_for_499() -> None:
    rates = training.learning_rates(ProtocolConfig(), 1000)
    assert len(rates) == 1001
    assert rates.count(0.01) == 502
    assert rates[:502] == [0.01] * 502
    assert rates[502:] == [pytest.approx(0.001)] * 499


def test_the_drop_of_1800_epochs_comes_after_epoch_901() -> None:
    rates = training.learning_rates(ProtocolConfig(), 1800)
    assert (rates[901], rates[902]) == (0.01, pytest.approx(0.001))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_gives_the_bits_of_its_definition(momentum: float) -> None:
    net = models.build(StudentConfig(width=8), channels=1, num_classes=10, resolution=8)
    optimiser = Sgd(net, ProtocolConfig(weight_decay=0.01, momentum=momentum))
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    velocities = [torch.zeros_like(w) for w in weights]
    images, labels = torch.randn(5, 1, 8, 8, generator=generator(0, "images")), torch.arange(5)
    for _ in range(4):
        F.cross_entropy(net(images), labels).backward()
        for w, velocity, parameter in zip(weights, velocities, net.parameters(), strict=True):
            assert parameter.grad is not None
            velocity.mul_(momentum).add_(parameter.grad.add(w, alpha=0.01))
            w.sub_(velocity, alpha=0.1)
        optimiser.step(0.1)
        for w, parameter in zip(weights, net.parameters(), strict=True):
            assert torch.equal(parameter, w)
            assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize("norm", list(Norm), ids=lambda norm: norm.name)
def test_networks_trained_together_equal_networks_trained_one_by_one(digits: Digits, norm: Norm) -> None:
    one_by_one = train(digits, norm=norm)
    together = train(digits, norm=norm, batching=Batching.stacked)
    assert len(one_by_one.modules) == 3
    assert len(together.modules) == 1
    assert len(together) == len(one_by_one) == 3
    assert_same(together, one_by_one, 1e-4)


def test_batches_in_pieces_equal_whole_batches(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(digits)
    monkeypatch.setattr("distill_bench.training.batching.CPU_MAP", 5 * 4 * 8 * 64)
    net = models.build(StudentConfig(width=8), channels=1, num_classes=10, resolution=8)
    assert images_per_pass(net, CPU) == 5
    assert_same(train(digits), whole, 1e-5)


def test_training_equals_the_published_loop(digits: Digits) -> None:
    protocol, epochs = replace(PROTOCOL, augment=False), 4
    ours = train(digits, protocol, seeds=(5,), epochs=epochs)
    net = models.build(StudentConfig(width=8), channels=1, num_classes=10, resolution=8)
    models.reinitialise(net, generator(5, "weights"))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs + 1):
        for part in torch.randperm(20, generator=generator(5, "order", epoch)).split(16):
            optimiser.zero_grad()
            F.cross_entropy(net(digits.images[part]), digits.labels[part]).backward()
            optimiser.step()
        if epoch == epochs // 2 + 1:
            optimiser = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    for name, value in ours.state_dicts()[0].items():
        torch.testing.assert_close(value, net.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_the_same_seeds_give_the_same_accuracy_and_each_its_own(digits: Digits) -> None:
    first, second = train(digits, epochs=10), train(digits, epochs=10)
    assert training.accuracies(first, digits) == training.accuracies(second, digits)
    assert_same(first, second, 0)
    alone = train(digits, epochs=10, seeds=(2,))
    assert training.accuracies(alone, digits) == training.accuracies(first, digits)[1:2]
    states = first.state_dicts()
    assert not torch.equal(states[0]["classifier.weight"], states[1]["classifier.weight"])


def test_nothing_is_drawn_from_the_global_generator(digits: Digits) -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(train(digits))
    assert_same(results[0], results[1], 0)


@pytest.mark.parametrize(
    "batching", [Batching.stacked, Batching.sequential], ids=lambda batching: batching.name
)
@pytest.mark.parametrize("norm", [Norm.instance, Norm.batch], ids=lambda norm: norm.name)
@pytest.mark.parametrize("stop", [0, 5, 8, 11], ids=lambda stop: f"step {stop}")
def test_resumed_training_equals_uninterrupted(
    digits: Digits, batching: Batching, norm: Norm, stop: int
) -> None:
    """Two steps an epoch: within one, before one, and where the rate of E = 5 drops, which is step 8."""
    saved: dict[str, tuple[int, dict[str, Any]]] = {}

    def stopped(name: str, total: int, state: dict[str, Any]) -> Iterator[int]:
        for step in range(total):
            if step == stop:
                saved[name] = (step, copy.deepcopy(state))
                raise KeyboardInterrupt
            yield step

    def resumed(name: str, total: int, state: dict[str, Any]) -> Iterator[int]:
        start, content = saved[name]
        with torch.no_grad():
            for key, tensor in state.items():
                tensor.copy_(content[key])
        return iter(range(start, total))

    seeds = (1, 2) if batching is Batching.stacked else (1,)
    run = partial(train, digits, norm=norm, epochs=5, seeds=seeds, batching=batching)
    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(loop=stopped)
    assert_same(run(loop=resumed), whole, 0)


def test_training_learns_the_digits(digits: Digits) -> None:
    students = train(digits, ProtocolConfig(augment=False), epochs=120)
    assert min(training.accuracies(students, digits)) > 50


def test_accuracy_is_counted_over_the_whole_split_read_once(digits: Digits) -> None:
    students = train(digits)
    digits.read = 0
    measured = training.accuracies(students, digits, batch_size=70)
    assert digits.read == 5
    images, labels = digits.test
    config = StudentConfig(width=8)
    for state, accuracy in zip(students.state_dicts(), measured, strict=True):
        net = models.build(config, channels=1, num_classes=10, resolution=8).eval()
        net.load_state_dict(state)
        right = (net(images).argmax(1) == labels).double().mean()
        assert accuracy == pytest.approx(100 * float(right))


def test_networks_of_timm_are_trained_one_by_one(digits: Digits) -> None:
    students = train(digits, ProtocolConfig(), name="resnet10t", epochs=1, seeds=(1, 2))
    assert len(students.modules) == 2
    assert len(training.accuracies(students, digits)) == 2


def test_asking_for_stacked_networks_of_timm_is_an_error() -> None:
    net = models.build(StudentConfig(name="resnet10t"), channels=3, num_classes=10, resolution=32)
    with pytest.raises(UserError, match="allowed: auto, sequential"):
        networks_together(net, Batching.stacked, 5, 10, CPU)


def test_auto_stacks_small_networks_on_a_cpu_and_all_on_a_gpu() -> None:
    small = models.build(StudentConfig(width=8), channels=1, num_classes=10, resolution=8)
    large = models.build(StudentConfig(), channels=3, num_classes=10, resolution=32)
    assert networks_together(small, Batching.auto, 5, 20, CPU) == 5
    assert networks_together(large, Batching.auto, 5, 256, CPU) == 1
    assert networks_together(large, Batching.auto, 5, 256, torch.device("cuda")) == 5


def test_batch_norm_sees_whole_batches() -> None:
    net = models.build(StudentConfig(norm=Norm.batch), channels=3, num_classes=10, resolution=32)
    assert images_per_pass(net, CPU) is None
    other = models.build(StudentConfig(), channels=3, num_classes=10, resolution=32)
    assert images_per_pass(other, CPU) == CPU_MAP // (4 * 128 * 32 * 32)


def test_embeddings_are_those_of_the_network_in_order(digits: Digits) -> None:
    net = models.build(
        StudentConfig(width=8, norm=Norm.batch), channels=1, num_classes=10, resolution=8
    ).train()
    embeddings = training.embeddings(net, digits, batch_size=70)
    assert embeddings.shape == (len(digits), 8 * 2 * 2)
    assert net.training
    torch.testing.assert_close(embeddings, net.eval()(digits.test[0], features=True).embedding)
