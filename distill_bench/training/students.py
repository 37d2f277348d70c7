"""Networks trained from scratch on a labelled set, by the evaluation protocol of the dataset distillation literature.

Axes: M networks, N images of the set, B of a batch, C x H x W. Every draw of a network follows from its own seed and
the epoch, so training networks together, one by one, or in two halves with an interruption gives the same networks
up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import augment, models
from distill_bench.groups import ProtocolConfig
from distill_bench.seeding import generator
from distill_bench.training.batching import images_per_pass, networks_together
from distill_bench.training.schedule import drop_epoch, learning_rates, sgd_step

__all__ = ["Loop", "Students", "accuracies", "initialise", "train_students"]

Loop = Callable[[str, int, dict[str, Any]], Iterator[int]]
"""(name, total, state) -> the steps 0 .. total-1, resumable: see `Context.loop`."""

Fetch = Callable[[Tensor], Tensor]
"""Indices (B,) -> images (B, C, H, W), normalised."""


@dataclass(frozen=True)
class Students:
    """Trained networks: modules of one or several networks each, in the order of their seeds."""

    modules: list[nn.Module]

    def __len__(self) -> int:
        return sum(_copies(module) for module in self.modules)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (M, B, K) of the same images (B, C, H, W) by every network, in evaluation mode."""
        outputs = [module.eval()(images) for module in self.modules]
        return torch.cat([output.unflatten(0, (-1, len(images))) if output.ndim == 2 else output for output in outputs])

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """The weights of each network, as its own `load_state_dict` takes them."""
        return [state for module in self.modules for state in _states(module)]


def initialise(net: nn.Module, seeds: list[int]) -> nn.Module:
    """Networks like `net` with fresh parameters drawn from each seed: `net` itself for one, else one module for all.

    `net` must be on its device; the draws are those of `models.reinitialise`.
    """
    device = next(net.parameters()).device
    if len(seeds) == 1:
        models.reinitialise(net, generator(seeds[0], "weights", device=device))
        return net
    together = net.times(len(seeds)).to(device)  # type: ignore[operator]
    targets = [parameter.data.chunk(len(seeds)) for parameter in together.parameters()]
    for i, seed in enumerate(seeds):
        models.reinitialise(net, generator(seed, "weights", device=device))
        for target, source in zip(targets, net.parameters(), strict=True):
            target[i].copy_(source.detach())
    return together


def train_students(
    build: Callable[[], nn.Module], fetch: Fetch, labels: Tensor, protocol: ProtocolConfig, *,
    epochs: int, seeds: list[int], augmentation: str, device: torch.device, loop: Loop,
) -> Students:  # fmt: skip
    """Train one network for each seed on the images `fetch(0 .. N-1)` with hard `labels` (N,).

    Cross-entropy, SGD, E + 1 epochs (see `schedule`), the last partial batch kept; with `protocol.augment`, one
    family of `augmentation` for each batch of each network, its parameters drawn for each image. Networks go together
    or one after another (`batching`); `loop` is asked once for each module, by the name of its networks.
    """
    first = build().to(device)
    batch = min(protocol.batch_size, len(labels))
    together = networks_together(first, protocol.batching, len(seeds), batch, device)
    modules = []
    for start in range(0, len(seeds), together):
        net = initialise(first if together > 1 or start == 0 else build().to(device), seeds[start : start + together])
        name = "nets" if together > 1 else f"net{start}"
        run = _Training(net, fetch, labels.to(device), protocol, epochs, seeds[start : start + together], augmentation)
        for epoch in loop(name, epochs + 1, run.state):
            run.epoch(epoch)
        net.zero_grad(set_to_none=True)
        modules.append(net)
    return Students(modules)


def accuracies(students: Students, split: Any, batch_size: int = 1000) -> list[float]:
    """Accuracy in % of each network on all of `split`, whose batches are read once for all networks."""
    right: Tensor | None = None
    for images, labels in split.batches(batch_size):
        piece = _pieces(students.modules[0], len(images), images.device)
        for some, answers in zip(images.split(piece), labels.to(images.device).split(piece), strict=True):
            hits_M = (students.logits(some).argmax(2) == answers).sum(1)
            right = hits_M if right is None else right + hits_M
    if right is None:
        raise ValueError("an empty split has no accuracy")
    return [100 * hits / len(split) for hits in right.tolist()]


class _Training:
    """The training of one module of M networks: what an epoch does, and the state that it changes."""

    def __init__(
        self, net: nn.Module, fetch: Fetch, labels: Tensor, protocol: ProtocolConfig, epochs: int,
        seeds: list[int], augmentation: str,
    ) -> None:  # fmt: skip
        self.net, self.fetch, self.labels, self.protocol, self.seeds = net.train(), fetch, labels, protocol, seeds
        self.device = labels.device
        self.rates, self.drop = learning_rates(protocol, epochs), drop_epoch(epochs)
        self.strategy = augmentation if protocol.augment else ""
        self.weights = models.flatten_parameters(net)
        self.gradient, self.momentum = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        for parameter in net.parameters():
            at = slice(parameter.storage_offset(), parameter.storage_offset() + parameter.numel())
            parameter.grad = self.gradient[at].view(parameter.shape)
        buffers = {f"buffer {name}": value for name, value in net.named_buffers()}
        self.state: dict[str, Any] = {"weights": self.weights, "momentum": self.momentum, **buffers}

    def epoch(self, epoch: int) -> None:
        """One pass of every network over the set, each in its own order."""
        if epoch == self.drop:
            self.momentum.zero_()  # the protocol rebuilds its optimiser here, which loses the momentum
        count, size = len(self.labels), self.protocol.batch_size
        order_MN = self._order(epoch, count)
        uniforms_MNU = self._uniforms(epoch, count)
        families_MS = [
            augment.draw_families(self.strategy, math.ceil(count / size), generator(seed, "families", epoch))
            for seed in self.seeds
        ]
        for step, indices_MB in enumerate(order_MN.split(size, dim=1)):
            images_MBCHW = self.fetch(indices_MB.flatten()).unflatten(0, indices_MB.shape)
            if self.strategy:
                at = slice(step * size, (step + 1) * size)
                draw = augment.Draw(tuple(families[step] for families in families_MS), uniforms_MNU[:, at])
                images_MBCHW = augment.apply(draw, images_MBCHW)
            self._step(images_MBCHW, self.labels[indices_MB], self.rates[epoch])

    def _step(self, images_MBCHW: Tensor, labels_MB: Tensor, rate: float) -> None:
        batch = labels_MB.shape[1]
        piece = _pieces(self.net, batch, self.device)
        for images, labels in zip(images_MBCHW.split(piece, 1), labels_MB.split(piece, 1), strict=True):
            logits = self.net(images if len(self.seeds) > 1 else images[0])
            loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum") / batch
            loss.backward()
        with torch.no_grad():
            sgd_step(self.weights, self.gradient, self.momentum, rate, self.protocol)

    def _order(self, epoch: int, count: int) -> Tensor:
        """Each network's own permutation of the set, (M, N)."""
        orders = [torch.randperm(count, generator=generator(seed, "order", epoch)) for seed in self.seeds]
        return torch.stack(orders).to(self.device, non_blocking=True)

    def _uniforms(self, epoch: int, count: int) -> Tensor:
        """Uniforms of the augmentation, by network and place in its order, (M, N, U)."""
        draws = [generator(seed, "augment", epoch, device=self.device) for seed in self.seeds]
        return torch.stack([torch.rand(count, augment.UNIFORMS, generator=g, device=self.device) for g in draws])


def _copies(net: nn.Module) -> int:
    return net.copies if isinstance(net, models.Network) else 1


def _pieces(net: nn.Module, batch: int, device: torch.device) -> int:
    """Images of a batch in one pass, as even as they can be."""
    limit = min(images_per_pass(net, device) or batch, batch)
    return math.ceil(batch / math.ceil(batch / limit))


def _states(net: nn.Module) -> list[dict[str, Tensor]]:
    copies = _copies(net)
    parts = {
        name: [value.clone()] * copies if value.ndim == 0 else [part.clone() for part in value.chunk(copies)]
        for name, value in net.state_dict().items()
    }
    return [{name: values[i] for name, values in parts.items()} for i in range(copies)]
