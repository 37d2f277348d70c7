"""The one trainer: a module of one or several networks, batches, a recipe, and an objective.

Axes: M networks, B images of a batch, P weights of all of them in one vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from distill_bench.groups import Optimiser, Recipe, Schedule
from distill_bench.training.average import Average
from distill_bench.training.batches import Batch
from distill_bench.training.batching import images_per_pass
from distill_bench.training.distributed import add_up, is_writer, part_of, shared_batch_norm, shared_steps
from distill_bench.training.objectives import Objective
from distill_bench.training.optimisers import AdamW, Sgd, clip
from distill_bench.training.schedule import drop_epoch, epochs_run, rate_of_step

__all__ = ["BatchSource", "EpochHook", "Loop", "fit", "pieces"]

Loop = Callable[[str, int, dict[str, Any]], Iterator[int]]
"""(name, total, state) -> the steps 0 .. total-1, resumable: see `Run.loop`."""

EpochHook = Callable[[int, Tensor], None]
"""(e, loss): called before epoch e, and after the last one with e = E. The network is then as it would be
returned; `loss` () is the mean over the epoch that ended, summed over networks, and before the first epoch
nothing that counts. Called again with the same e if a run goes on there."""


class BatchSource(Protocol):
    """Batches that follow from the epoch and the step alone."""

    count: int  # batches of an epoch

    def epoch(self, epoch: int, first: int = 0, *, whole: bool = False) -> Iterator[Batch]:
        """The batches of the epoch from number `first` on; of each, this process's part (`part_of`), or the
        `whole`."""
        ...


def fit(
    net: nn.Module,
    batches: BatchSource,
    recipe: Recipe,
    *,
    epochs: int,
    objective: Objective,
    loop: Loop,
    name: str = "",
    on_epoch: EpochHook | None = None,
    log: Callable[[int, Tensor], None] | None = None,
    state: dict[str, Any] | None = None,
) -> None:
    """Train `net` in place for E = `epochs` (see `epochs_run`), step by step; it is left in training mode.

    `loop` is asked once, by `name`: it counts optimisation steps, so that a run stops and goes on within an
    epoch, bit for bit. `state` is what `on_epoch` changes, in place. `log` is given the step and the mean
    loss, summed over networks. With `recipe.ema` the network ends with the average of its weights (and of
    running statistics) after each step. ValueError for an objective with parameters that are not to be
    trained: a teacher is not registered with it.

    Processes that were started together (`distributed.start`) train one network: each does its part of each
    batch, batch norm has the statistics of whole batches, process 0 goes through `loop`, and the result is
    that of one process up to rounding, the same in all. `on_epoch` is called in each, `log` in process 0.
    """
    work = _Training(net, batches.count, recipe, epochs, objective)
    stream: Iterator[Batch] | None = None
    steps = shared_steps(loop, name, work.epochs * batches.count, {**work.state, **(state or {})})
    with closing(steps):
        for step in steps:
            epoch, within = divmod(step, batches.count)
            if within == 0:
                work.look(on_epoch, epoch)
                work.begin_epoch(epoch)
            objective.epoch = epoch
            if within == 0 or stream is None:
                stream = batches.epoch(epoch, within, whole=objective.whole)
            loss = work.step(next(stream), step)
            if log and is_writer():
                log(step, loss)
    work.look(on_epoch, work.epochs)
    work.finish()


class _Training:
    """What a step does, and the state that it changes."""

    def __init__(self, net: nn.Module, count: int, recipe: Recipe, epochs: int, objective: Objective) -> None:
        self.net, self.objective, self.recipe, self.count = net.train(), objective.train(), recipe, count
        self.epochs = epochs_run(recipe, epochs)
        self.rate = rate_of_step(recipe, epochs, count)
        self.drop = drop_epoch(epochs) if recipe.schedule is Schedule.drop else None
        trained = nn.ModuleList([net, objective])
        if not all(parameter.requires_grad for parameter in trained.parameters()):
            raise ValueError(
                "frozen parameters: what is not trained is no part of the network or its objective"
            )
        self.optimiser = (AdamW if recipe.optimiser is Optimiser.adamw else Sgd)(trained, recipe)
        self.loss = torch.zeros((), device=self.optimiser.state["weights"].device)
        buffers = {f"buffer {name}": value for name, value in net.named_buffers()}
        buffers |= {f"objective {name}": value for name, value in objective.named_buffers()}
        self.state: dict[str, Any] = {**self.optimiser.state, **buffers, "loss": self.loss}
        self.average: Average | None = None
        if recipe.ema:
            self.average = Average([self.optimiser.state["weights"], *net.buffers()], recipe.ema)
            self.state |= self.average.state

    def look(self, hook: EpochHook | None, epoch: int) -> None:
        """Show the hook the network as it would be returned."""
        if hook:
            with self.average.swapped() if self.average else nullcontext():
                hook(epoch, self.loss / self.count)

    def begin_epoch(self, epoch: int) -> None:
        self.loss.zero_()
        self.objective.begin_epoch(epoch)
        if any(
            self.state[f"objective {name}"] is not value for name, value in self.objective.named_buffers()
        ):
            raise RuntimeError("an objective changes its buffers in place: a new tensor would not be saved")
        if epoch == self.drop:
            self.optimiser.state["momentum"].zero_()  # the protocol rebuilds its optimiser here, without it

    def step(self, batch: Batch, step: int) -> Tensor:
        """One step on one batch; its mean loss, summed over networks."""
        loss = self._gradient(batch)
        add_up(self.optimiser.gradient, loss)
        self.loss += loss
        if self.recipe.clip:
            clip(self.net, self.objective, self.recipe.clip)
        self.optimiser.step(self.rate(step))
        if self.average:
            self.average.update()
        return loss

    def finish(self) -> None:
        if self.average:
            self.average.swap()
        self.net.zero_grad(set_to_none=True)

    def _gradient(self, batch: Batch) -> Tensor:
        """Add up the gradient of the mean loss of each network's batch; of several processes, of the sum of
        which this is a part."""
        size = batch.images.shape[1]
        part = batch.part or part_of(size, whole=True)
        length = size if self.objective.whole else pieces(self.net, size, batch.images.device)
        more = {"features": True} if self.objective.features else {}
        total = torch.zeros_like(self.loss)
        with shared_batch_norm(part):
            for piece in batch.split(length):
                output = self.net(piece.images if len(piece.images) > 1 else piece.images[0], **more)
                loss = self.objective(output, piece).div(part.total)
                loss.backward()
                total += loss.detach()
        return total


def pieces(net: nn.Module, batch: int, device: torch.device) -> int:
    """Images of a batch in one pass, as even as they can be."""
    limit = min(images_per_pass(net, device) or batch, batch)
    return math.ceil(batch / math.ceil(batch / limit))
