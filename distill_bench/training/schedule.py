"""Learning rates: of each step, from the recipe, the number of epochs and the steps of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

from distill_bench.groups import Recipe, Schedule

__all__ = ["drop_epoch", "epochs_of", "epochs_run", "learning_rates", "rate_of_step", "steps_of_epoch"]

RISE, START, END = 0.3, 25.0, 1e4  # of one_cycle, as torch.optim.lr_scheduler.OneCycleLR has them


def steps_of_epoch(recipe: Recipe, images: int) -> int:
    """Batches of an epoch over so many images, at least one."""
    whole = max(1, images // recipe.batch_size)
    return whole if recipe.drop_last else math.ceil(images / recipe.batch_size)


def epochs_of(recipe: Recipe, count: int) -> int:
    """E for epochs of `count` steps: the recipe's, or what comes nearest to its steps, at least one."""
    return max(1, round(recipe.steps / count)) if recipe.steps else recipe.epochs


def drop_epoch(epochs: int) -> int:
    """The first epoch at the lower rate, E // 2 + 2: the published loop rebuilds its optimiser after E // 2 +
    1."""
    return epochs // 2 + 2


def epochs_run(recipe: Recipe, epochs: int) -> int:
    """How many epochs are run for E: E + 1 where the rate drops once, as the published loop has it."""
    return epochs + 1 if recipe.schedule is Schedule.drop else epochs


def learning_rates(recipe: Recipe, epochs: int) -> list[float]:
    r"""The rate of each epoch, for schedules that change it between epochs.

    One drop: E + 1 epochs 0 .. E; for E = 1000, 502 at `lr` and 499 at `lr * lr_drop`. Two drops: E epochs,
    times `lr_drop` from 2E // 3 and again from 5E // 6. Steps: times `lr_drop` from each milestone on. Half a
    cosine: :math:`(1 + \cos(\pi e / 2E)) / 2`, which ends near 1/2, as the released code of RDED has it.
    UserError for milestones that do not fit.
    """
    if recipe.schedule is Schedule.half_cosine:
        return [recipe.lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs / 2)) for epoch in range(epochs)]
    drops = {
        Schedule.two_drops: lambda: [2 * epochs // 3, 5 * epochs // 6],
        Schedule.drop: lambda: [drop_epoch(epochs)],
        Schedule.steps: lambda: recipe.milestone_epochs(epochs),
    }.get(recipe.schedule, list[int])()
    return [
        recipe.lr * recipe.lr_drop ** sum(epoch >= drop for drop in drops)
        for epoch in range(epochs_run(recipe, epochs))
    ]


def rate_of_step(recipe: Recipe, epochs: int, count: int) -> Callable[[int], float]:
    r"""The rate of step s of S = E * `count`.

    cosine: :math:`(1 + \cos(\pi s / S)) / 2`. one_cycle: that of torch's OneCycleLR with its defaults. With a
    warm-up of w epochs, all rates up to step w * `count` are multiplied by (s + 1) / (w * `count`).
    """
    total = epochs_run(recipe, epochs) * count
    by_step = {Schedule.cosine: _cosine, Schedule.one_cycle: _one_cycle}.get(recipe.schedule)
    rates = [] if by_step else learning_rates(recipe, epochs)

    def plain(step: int) -> float:
        return by_step(recipe.lr, step, total) if by_step else rates[step // count]

    if not recipe.warmup:
        return plain
    rise = recipe.warmup * count
    return lambda s: plain(s) * min(1.0, (s + 1) / rise)


def _cosine(highest: float, step: int, total: int) -> float:
    return highest * 0.5 * (1 + math.cos(math.pi * step / total))


def _one_cycle(highest: float, step: int, total: int) -> float:
    turn = RISE * total - 1
    if step <= turn:
        return _between(highest / START, highest, step / turn)
    return _between(highest, highest / START / END, (step - turn) / (total - 1 - turn))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
