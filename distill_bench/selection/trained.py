"""A scorer trained here: the run's student, on the training part alone, with seeds that nothing else has.

Legend: N training images, F folds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench import models, training
from distill_bench.contract import Work
from distill_bench.errors import require
from distill_bench.groups import ProtocolConfig
from distill_bench.seeding import derive, generator
from distill_bench.selection.choose import places_in_group
from distill_bench.selection.scores import Scorer, Scores

if TYPE_CHECKING:
    from distill_bench.contract import Context

__all__ = ["folds_of", "scorer_work", "trained_scorer"]

KIND = "difficulty_scorer"  # in the cache
RECIPE = ProtocolConfig(
    name="scorer"
)  # SGD and augmentation: the same, however the run's students are evaluated


def trained_scorer(ctx: Context, steps: int, folds: int) -> tuple[Scorer, Scores]:
    """A scorer, and its scores of the training images; made once for all runs, and cached.

    `steps` optimisation steps, in whole epochs, at least one. One fold: one network, which has seen every
    image that it scores, so that these scores are biased to 0. Several (cross-fitting): each network leaves
    one fold out and scores it; other images get the mean of all. UserError for a class of fewer images than
    folds.
    """
    smallest = ctx.dataset.train.smallest_class
    require(
        folds <= smallest, "method.cross_fit", folds, f"at most {smallest}, the images of the smallest class"
    )
    made = ctx.cache.get(KIND, _parts(ctx, steps, folds), lambda: _make(ctx, steps, folds))
    networks = [_network(ctx, weights) for weights in made["weights"]]
    return _scorer(ctx, networks), Scores(made["difficulty"], made["right"])


def scorer_work(ctx: Context, steps: int, folds: int) -> list[Work]:
    """What making the scorer costs; nothing if it is there."""
    if ctx.cache.path(KIND, _parts(ctx, steps, folds)).exists():
        return []
    train, what = ctx.dataset.train, f"{folds} x {steps} steps of the student on the training set"
    least = steps * min(
        RECIPE.batch_size, len(train)
    )  # images of one network, a pass back counting as two more
    return [Work(name="scorer", what=what, student_images=3 * folds * max(least, len(train)) + len(train))]


def folds_of(labels: Tensor, folds: int) -> Tensor:
    """A fold 0 .. F-1 for each image (N,), drawn; the folds of a class differ by at most one image."""
    keys = torch.rand(len(labels), generator=generator(0, "difficulty folds"), dtype=torch.float64)
    return places_in_group(labels.cpu(), keys) % folds


def _parts(ctx: Context, steps: int, folds: int) -> dict[str, Any]:
    """What the scorer depends on: JSON for a cache key. The run's protocol and seed are no part of it."""
    known = training.student_parts(ctx)
    shared = {"student": known["student"], "augmentation": known["augmentation"]}
    return {"data": ctx.dataset.fingerprint, **shared, "steps": steps, "folds": folds}


def _make(ctx: Context, steps: int, folds: int) -> dict[str, Any]:
    """Train one network for each fold, and score the training images."""
    train = ctx.dataset.train
    fold_N = folds_of(train.labels, folds)
    difficulty_N, right_N = (
        torch.zeros(len(train), dtype=torch.float64),
        torch.zeros(len(train), dtype=torch.bool),
    )
    weights = []
    for fold in range(folds):
        held = fold_N == fold
        seen = (~held if folds > 1 else held).nonzero().flatten().to(ctx.device)
        students = _train(ctx, seen, steps, fold)
        left = held.nonzero().flatten().to(ctx.device)
        batches = ((train.images(some), train.labels[some]) for some in left.split(1000))
        scores = _scorer(ctx, students.modules).score(batches)
        difficulty_N[held], right_N[held] = scores.difficulty, scores.right
        weights += students.state_dicts()
    return {"weights": weights, "difficulty": difficulty_N, "right": right_N}


def _train(ctx: Context, seen: Tensor, steps: int, fold: int) -> training.Students:
    train, data = ctx.dataset.train, ctx.dataset
    recipe = replace(RECIPE, batching=ctx.protocol.batching)
    epochs = max(1, round(steps / math.ceil(len(seen) / recipe.batch_size)))
    return training.train_students(
        lambda: _build(ctx),
        lambda i: train.images(seen[i]),
        train.labels[seen],
        recipe,
        epochs=epochs - 1,
        seeds=[derive(0, "difficulty scorer", fold)],
        augmentation=data.augmentation,
        device=ctx.device,
        loop=lambda part, total, state: ctx.loop(f"train-scorer{fold}-{part}", total, state),
    )


def _scorer(ctx: Context, networks: list[nn.Module]) -> Scorer:
    return Scorer(networks, torch.arange(ctx.dataset.num_classes, device=ctx.device))


def _network(ctx: Context, weights: dict[str, Tensor]) -> nn.Module:
    network = _build(ctx)
    network.load_state_dict(weights)
    return network.to(ctx.device).eval().requires_grad_(False)


def _build(ctx: Context) -> nn.Module:
    data = ctx.dataset
    return models.build(
        ctx.student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
    )
