"""Networks trained from scratch on a labelled set, by an evaluation protocol of the dataset distillation
literature.

Axes: M networks, N images of the set, B of a batch, K classes, C x H x W. Every draw of a network follows
from its own seed and the epoch, so training networks together, one by one, or in two halves with an
interruption gives the same networks up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.groups import Optimiser, ProtocolConfig, Schedule
from distill_bench.seeding import generator
from distill_bench.training.batches import Batch, Batches, Fetch
from distill_bench.training.batching import images_per_pass, networks_together
from distill_bench.training.losses import hard_loss, soft_loss
from distill_bench.training.optimisers import AdamW, Sgd
from distill_bench.training.schedule import drop_epoch, learning_rates

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["LabelledImages", "Loop", "Students", "accuracies", "initialise", "train_students"]

Loop = Callable[[str, int, dict[str, Any]], Iterator[int]]
"""(name, total, state) -> the steps 0 .. total-1, resumable: see `Run.loop`."""


class LabelledImages(Protocol):
    """Images with labels, read in batches: a `Split`."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, /) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) in order."""
        ...


Teacher = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) -> logits (B, K)."""


@dataclass(frozen=True)
class Students:
    """Trained networks: modules of one or several networks each, in the order of their seeds."""

    modules: list[nn.Module]
    best: list[float] = field(default_factory=list)  # if asked for: each one's highest test accuracy (%)

    def __len__(self) -> int:
        return sum(_copies(module) for module in self.modules)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (M, B, K) of the same images (B, C, H, W) by every network, in evaluation mode."""
        outputs = [module.eval()(images) for module in self.modules]
        return torch.cat(
            [output.unflatten(0, (-1, len(images))) if output.ndim == 2 else output for output in outputs]
        )

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """The weights of each network, as its own `load_state_dict` takes them."""
        return [state for module in self.modules for state in _states(module)]


def initialise(net: nn.Module, seeds: list[int]) -> nn.Module:
    """Networks like `net` with fresh parameters drawn from each seed: `net` itself for one, else one module
    for all.

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
    build: Callable[[], nn.Module],
    fetch: Fetch,
    labels: Tensor,
    protocol: ProtocolConfig,
    *,
    epochs: int,
    seeds: list[int],
    augmentation: str,
    device: torch.device,
    loop: Loop,
    colours: Transform | None = None,
    teacher: Teacher | None = None,
    test: LabelledImages | None = None,
) -> Students:
    """Train one network for each seed on the images `fetch(0 .. N-1)` with hard `labels` (N,), for E =
    `epochs`.

    The last partial batch is kept. With `protocol.augment`: siamese, one family of `augmentation` for each
    batch of each network, or a crop for each image, in which `colours` is the data set's normalisation. Soft
    labels are those of `teacher`, logits (B, K) of the images as the students see them. With `protocol.best`
    the networks are tested on the split `test` during training. Networks go together or one after another
    (`batching`); `loop` is asked once for each module, by the name of its networks.
    """
    first = build().to(device)
    batch = min(protocol.batch_size, len(labels))
    together = networks_together(first, protocol.batching, len(seeds), batch, device)
    modules, best = [], list[float]()
    for start in range(0, len(seeds), together):
        group = seeds[start : start + together]
        net = initialise(first if together > 1 or start == 0 else build().to(device), group)
        name = "nets" if together > 1 else f"net{start}"
        batches = Batches(fetch, labels.to(device), protocol, group, augmentation, colours)
        work = _Training(net, batches, protocol, epochs, teacher, test if protocol.best else None)
        for epoch in loop(name, len(work.rates), work.state):
            work.epoch(epoch)
        net.zero_grad(set_to_none=True)
        modules.append(net)
        best += work.best.tolist()
    return Students(modules, best if protocol.best else [])


def accuracies(students: Students, split: LabelledImages, batch_size: int = 1000) -> list[float]:
    """Accuracy in % of each network on all of `split`, whose batches are read once for all networks."""
    right: Tensor | None = None
    for images, labels in split.batches(batch_size):
        piece = _pieces(students.modules[0], len(images), images.device)
        for inputs, answers in zip(images.split(piece), labels.to(images.device).split(piece), strict=True):
            hits_M = (students.logits(inputs).argmax(2) == answers).sum(1)
            right = hits_M if right is None else right + hits_M
    if right is None:
        raise ValueError("an empty split has no accuracy")
    return [100 * hits / len(split) for hits in right.tolist()]


class _Training:
    """The training of one module of M networks: what an epoch does, and the state that it changes."""

    def __init__(
        self,
        net: nn.Module,
        batches: Batches,
        protocol: ProtocolConfig,
        epochs: int,
        teacher: Teacher | None,
        test: LabelledImages | None,
    ) -> None:
        self.net, self.batches, self.protocol = net.train(), batches, protocol
        self.teacher, self.test = teacher, test
        self.rates = learning_rates(protocol, epochs)
        self.drop = drop_epoch(epochs) if protocol.schedule is Schedule.drop else None
        self.every = math.ceil(len(self.rates) / protocol.readings)
        self.optimiser = Sgd(net, protocol) if protocol.optimiser is Optimiser.sgd else AdamW(net, protocol)
        buffers = {f"buffer {name}": value for name, value in net.named_buffers()}
        self.state: dict[str, Any] = {**self.optimiser.state, **buffers}
        self.best = torch.zeros(len(batches.seeds))
        if test is not None:
            self.state["best"] = self.best

    def epoch(self, epoch: int) -> None:
        """One pass of every network over the set, each in its own order."""
        if epoch == self.drop:
            self.optimiser.state["momentum"].zero_()  # the protocol rebuilds its optimiser here, without it
        for batch in self.batches.epoch(epoch):
            self._gradient(batch)
            self.optimiser.step(self.rates[epoch])
        epochs_left = len(self.rates) - 1 - epoch
        if self.test is not None and epochs_left % self.every == 0:
            reading = torch.tensor(accuracies(Students([self.net]), self.test))
            self.best.copy_(self.best.maximum(reading))
            self.net.train()

    def _gradient(self, batch: Batch) -> None:
        """Add up the gradient of the mean loss of each network's batch."""
        size = batch.images.shape[1]
        for piece in batch.split(_pieces(self.net, size, batch.images.device)):
            logits = self.net(piece.images if len(piece.images) > 1 else piece.images[0])
            self._loss(logits, piece).div(size).backward()

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Summed over the images of all networks; `logits` are (B, K) for one network, else (M, B, K)."""
        if self.teacher is None:
            return hard_loss(logits, batch)
        images = batch.images.flatten(0, 1)
        with torch.no_grad():
            targets = self.teacher(images)
        return soft_loss(logits.flatten(0, -2), targets, self.protocol.temperature)


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
