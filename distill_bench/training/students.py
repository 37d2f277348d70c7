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
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from distill_bench import models
from distill_bench.groups import Batching, Recipe
from distill_bench.seeding import generator
from distill_bench.training.batches import Batches, Fetch
from distill_bench.training.batching import networks_together
from distill_bench.training.fit import EpochHook, Loop, fit, pieces
from distill_bench.training.objectives import CrossEntropy, Objective
from distill_bench.training.schedule import epochs_run

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["TOGETHER", "LabelledImages", "Students", "accuracies", "initialise", "train_students"]

TOGETHER = "nets"  # the name of the loop that trains all networks in one module


class LabelledImages(Protocol):
    """Images with labels, read in batches: a `Split`."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, /) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) in order."""
        ...


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
    recipe: Recipe,
    *,
    epochs: int,
    seeds: list[int],
    augmentation: str,
    device: torch.device,
    loop: Loop,
    batching: Batching = Batching.auto,
    colours: Transform | None = None,
    objective: Objective | None = None,
    test: LabelledImages | None = None,
    readings: int = 100,
    on_epoch: EpochHook | None = None,
    log: Callable[[int, Tensor], None] | None = None,
) -> Students:
    """Train one network for each seed on the images `fetch(0 .. N-1)` with `labels` (N,), for E = `epochs`.

    `augmentation`: the families of the data set, `colours` its normalisation (see `Batches`). Without an
    `objective`: cross-entropy. If a split `test` is given, the networks are tested on it during training, at
    most `readings` times. The images of networks that predict parts of them (`Network.predict_cells`) are
    canvases of as many. Networks go together or one after another (`batching`); `loop` is asked once for
    each module, by the name of its networks. `on_epoch` and `log` (see `fit`) are for one network.
    """
    first = build().to(device)
    batch = min(recipe.batch_size, len(labels))
    together = networks_together(first, batching, len(seeds), batch, device)
    canvas = first.cells if isinstance(first, models.Network) else 1
    objective = (objective or CrossEntropy()).to(device)
    if len(seeds) > 1 and objective.state_dict():
        raise ValueError("an objective that learns, or remembers, is that of one network")
    if objective.features:
        together = 1
    modules, best = [], list[float]()
    for start in range(0, len(seeds), together):
        group = seeds[start : start + together]
        net = initialise(first if together > 1 or start == 0 else build().to(device), group)
        batches = Batches(fetch, labels.to(device), recipe, group, augmentation, colours, canvas)
        reader = _Best(net, len(group), test, readings, epochs_run(recipe, epochs))
        hooks = [hook for hook in (reader if test is not None else None, on_epoch) if hook]
        fit(
            net,
            batches,
            recipe,
            epochs=epochs,
            objective=objective,
            loop=loop,
            name=TOGETHER if together > 1 else f"net{start}",
            on_epoch=_all(hooks),
            log=log,
            state={"best": reader.best} if test is not None else None,
        )
        modules.append(net)
        best += reader.best.tolist() if test is not None else []
    return Students(modules, best)


class _Best:
    """The highest test accuracy of each network over the epochs that are looked at."""

    def __init__(
        self, net: nn.Module, count: int, test: LabelledImages | None, readings: int, epochs: int
    ) -> None:
        self.net, self.test, self.epochs = net, test, epochs
        self.every = math.ceil(epochs / readings)
        self.best = torch.zeros(count)

    def __call__(self, epoch: int, _loss: Tensor) -> None:
        assert self.test is not None
        if epoch and (self.epochs - epoch) % self.every == 0:
            reading = torch.tensor(accuracies(Students([self.net]), self.test))
            self.best.copy_(self.best.maximum(reading))
            self.net.train()


def _all(hooks: list[EpochHook]) -> EpochHook | None:
    def each(epoch: int, loss: Tensor) -> None:
        for hook in hooks:
            hook(epoch, loss)

    return each if hooks else None


def accuracies(students: Students, split: LabelledImages, batch_size: int = 1000) -> list[float]:
    """Accuracy in % of each network on all of `split`, whose batches are read once for all networks."""
    right: Tensor | None = None
    for images, labels in split.batches(batch_size):
        piece = pieces(students.modules[0], len(images), images.device)
        for inputs, answers in zip(images.split(piece), labels.to(images.device).split(piece), strict=True):
            hits_M = (students.logits(inputs).argmax(2) == answers).sum(1)
            right = hits_M if right is None else right + hits_M
    if right is None:
        raise ValueError("an empty split has no accuracy")
    return [100 * hits / len(split) for hits in right.tolist()]


def _copies(net: nn.Module) -> int:
    return net.copies if isinstance(net, models.Network) else 1


def _states(net: nn.Module) -> list[dict[str, Tensor]]:
    copies = _copies(net)
    parts = {
        name: [value.clone()] * copies if value.ndim == 0 else [part.clone() for part in value.chunk(copies)]
        for name, value in net.state_dict().items()
    }
    return [{name: values[i] for name, values in parts.items()} for i in range(copies)]
