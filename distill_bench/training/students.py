"""Students trained from scratch on a labelled set: the field's protocol, for several networks at once.

Legend: M networks, B images of a batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from distill_bench import augment, seeding
from distill_bench.groups import Batching, ProtocolConfig

if TYPE_CHECKING:
    from distill_bench.data import Split

__all__ = ["Students", "test_accuracy", "train_students"]

Loop = Callable[[str, int, dict[str, Any]], Iterator[int]]
"""A resumable loop, as `Context.loop`: name, number of epochs, state to keep -> epochs still to do."""

IMAGES_IN_TEST = {"cpu": 256, "cuda": 4096}  # forward passes of the test, over all networks: bounds the memory


@dataclass(frozen=True)
class Students:
    """M networks of one architecture: parameters and buffers stacked along a first axis of M."""

    net: nn.Module
    parameters: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def state_dicts(self) -> list[dict[str, torch.Tensor]]:
        """Each network's own state."""
        stacked = {**self.parameters, **self.buffers}
        return [{name: value[m].detach().clone() for name, value in stacked.items()} for m in range(len(self))]

    def part(self, m: int) -> Students:
        """Network m alone, sharing memory."""
        return Students(self.net, *({k: v[m : m + 1] for k, v in s.items()} for s in (self.parameters, self.buffers)))

    def logits(self, images_MBCHW: torch.Tensor) -> torch.Tensor:
        """Logits (M, B, K): network m sees ``images_MBCHW[m]``. All networks in one vectorised pass."""
        if len(self) == 1:
            own = {name: value[0] for name, value in (self.parameters | self.buffers).items()}
            return functional_call(self.net, own, (images_MBCHW[0],))[None]
        call = vmap(lambda p, b, x: functional_call(self.net, (p, b), (x,)), randomness="different")
        return call(self.parameters, self.buffers, images_MBCHW)


def train_students(
    build: Callable[[], nn.Module],
    fetch: Callable[[torch.Tensor], torch.Tensor],
    labels: torch.Tensor,
    protocol: ProtocolConfig,
    *,
    epochs: int,
    seeds: list[int],
    augmentation: str,
    device: torch.device,
    loop: Loop,
) -> Students:
    """Train one network from scratch for each of `seeds`, with the protocol of Zhao, Mopuri and Bilen (2021).

    SGD with momentum and weight decay on the mean cross-entropy of hard labels; `epochs` + 1 epochs over the set
    in a fresh order, in batches (the last one may be smaller); after epoch `epochs` // 2 + 1 the optimiser is
    rebuilt at ``lr * lr_drop``, which loses its momentum, as the released code does. If the protocol augments,
    each batch has one family of `augmentation`, with parameters of its own for every image.

    `fetch` gives normalised images for indices, on the device; `build` a network. Everything random follows from
    a network's seed and the epoch, so that a network's result does not depend on those trained beside it
    (up to rounding) nor on an interruption. Nothing is selected: what is returned is the last epoch.
    """
    strategy = augmentation if protocol.augment else ""
    groups = [seeds] if _stacked(protocol, build, device) else [[seed] for seed in seeds]
    trained = []
    for number, group in enumerate(groups):
        students = _fresh(build, group, device)
        _train(students, fetch, labels, protocol, epochs, group, strategy, lambda *a, n=number: loop(str(n), *a))
        trained.append(students)
    return _joined(trained)


@torch.no_grad()
def test_accuracy(students: Students, split: Split, *, stacked: bool = False) -> list[float]:
    """Top-1 accuracy in % of each network on the whole split, in evaluation mode; one read from the device."""
    students.net.eval()
    device = next(iter(students.parameters.values())).device
    correct = torch.zeros(len(students), device=device, dtype=torch.long)
    together = len(students) if stacked else 1
    for images, labels in split.batches(max(1, IMAGES_IN_TEST.get(device.type, 256) // together)):
        for m in range(0, len(students), together):
            some = students if stacked else students.part(m)
            logits = some.logits(images.expand(together, *images.shape))
            correct[m : m + together] += (logits.argmax(2) == labels).sum(1)
    return [100 * count / len(split) for count in correct.tolist()]


test_accuracy.__test__ = False  # type: ignore[attr-defined] # pytest collects by name


def _stacked(protocol: ProtocolConfig, build: Callable[[], nn.Module], device: torch.device) -> bool:
    """Whether to train the networks together. `auto` follows the benchmark `students`: on the CPU one after
    another is at least as fast; on CUDA, where small steps wait for launches, together (not measured yet)."""
    if protocol.batching is not Batching.auto:
        return protocol.batching is Batching.stacked
    return device.type == "cuda" and type(build()).__name__ != "TimmNet"


def _fresh(build: Callable[[], nn.Module], seeds: list[int], device: torch.device) -> Students:
    nets = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nets.append(build())
    parameters, buffers = stack_module_state(nets)
    move = {name: p.detach().to(device).requires_grad_() for name, p in parameters.items()}
    return Students(nets[0].to(device), move, {name: b.to(device) for name, b in buffers.items()})


def _train(
    students: Students,
    fetch: Callable[[torch.Tensor], torch.Tensor],
    labels: torch.Tensor,
    protocol: ProtocolConfig,
    epochs: int,
    seeds: list[int],
    strategy: str,
    loop: Callable[[int, dict[str, Any]], Iterator[int]],
) -> None:
    parameters = list(students.parameters.values())
    optimiser = torch.optim.SGD(parameters, protocol.lr, protocol.momentum, weight_decay=protocol.weight_decay)
    momentum = [optimiser.state[p].setdefault("momentum_buffer", torch.zeros_like(p)) for p in parameters]
    state = {f"parameter/{name}": p for name, p in students.parameters.items()}
    state |= {f"momentum/{i}": value for i, value in enumerate(momentum)}
    state |= {f"buffer/{name}": b for name, b in students.buffers.items()}
    students.net.train()
    drop = epochs // 2 + 2  # the first epoch after the drop
    for epoch in loop(epochs + 1, state):
        optimiser.param_groups[0]["lr"] = protocol.lr * (protocol.lr_drop if epoch >= drop else 1.0)
        if epoch == drop:
            torch._foreach_zero_(momentum)
        for chosen_MB, draw in _batches(seeds, epoch, len(labels), protocol.batch_size, strategy, labels.device):
            images = fetch(chosen_MB.flatten()).unflatten(0, chosen_MB.shape)
            logits = students.logits(augment.apply(draw, images) if draw else images)
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), labels[chosen_MB].flatten(), reduction="sum"
            )
            optimiser.zero_grad()
            (losses / chosen_MB.shape[1]).backward()
            optimiser.step()


def _batches(
    seeds: list[int], epoch: int, size: int, batch: int, strategy: str, device: torch.device
) -> Iterator[tuple[torch.Tensor, augment.Draw | None]]:
    """Indices (M, B) and augmentation of every batch of an epoch; row m follows from seed m and the epoch alone."""
    draws = [seeding.generator(seed, "epoch", epoch, device=device) for seed in seeds]
    families = [seeding.generator(seed, "families", epoch) for seed in seeds]
    order = torch.stack([torch.randperm(size, generator=g, device=device) for g in draws])
    for chosen in order.split(batch, dim=1):
        if not strategy:
            yield chosen, None
            continue
        rows = [augment.draw(strategy, 1, chosen.shape[1], f, g) for f, g in zip(families, draws, strict=True)]
        uniforms = torch.cat([row.uniforms for row in rows])
        yield chosen, augment.Draw([row.families[0] for row in rows], uniforms)


def _joined(parts: list[Students]) -> Students:
    """Separately trained networks as one stack."""
    if len(parts) == 1:
        return parts[0]
    stacks = [
        {name: torch.cat([getattr(part, kind)[name].detach() for part in parts]) for name in getattr(parts[0], kind)}
        for kind in ("parameters", "buffers")
    ]
    return Students(parts[0].net, *stacks)
