"""A scorer trained here: the run's student, on the training part alone, with seeds that nothing else has.

Legend: N training images, F folds.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench import models, training
from distill_bench.errors import require
from distill_bench.groups import ProtocolConfig
from distill_bench.seeding import derive, generator
from distill_bench.selection.choose import places_in_group
from distill_bench.selection.scores import Scorer, Scores

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import StudentConfig
    from distill_bench.running import Run

__all__ = ["folds_of", "trained_scorer"]

PROTOCOL = ProtocolConfig(name="scorer")  # SGD and augmentation, however the run's students are evaluated


def trained_scorer(
    run: Run, data: ImageDataset, student: StudentConfig, steps: int, folds: int
) -> tuple[Scorer, Scores]:
    """A scorer, and its scores of the training images; made once for all runs, and cached.

    `steps` optimisation steps, in whole epochs, at least one. One fold: one network, which has seen every
    image that it scores, so that these scores are biased to 0. Several (cross-fitting): each network leaves
    one fold out and scores it; other images get the mean of all. UserError for a class of fewer images than
    folds.
    """
    allowed = f"at most {data.train.smallest_class}, the images of the smallest class"
    require(folds <= data.train.smallest_class, "method.cross_fit", folds, allowed)
    parts = {
        "data": data.fingerprint,
        "student": student.identity(),
        "augmentation": data.augmentation,
        "steps": steps,
        "folds": folds,
    }
    content = run.cached(
        "difficulty_scorer", parts, lambda part: _train_and_score(part, data, student, steps, folds)
    )
    networks = [_network(run, data, student, weights) for weights in content["weights"]]
    return _scorer(data, networks), Scores(content["difficulty"], content["right"])


def folds_of(labels: Tensor, folds: int) -> Tensor:
    """A fold 0 .. F-1 for each image (N,), drawn; the folds of a class differ by at most one image."""
    keys = torch.rand(len(labels), generator=generator(0, "difficulty folds"), dtype=torch.float64)
    return places_in_group(labels.cpu(), keys) % folds


def _train_and_score(
    run: Run, data: ImageDataset, student: StudentConfig, steps: int, folds: int
) -> dict[str, Any]:
    """Train one network for each fold, and score the training images."""
    train = data.train
    fold_N = folds_of(train.labels, folds)
    difficulty_N = torch.zeros(len(train), dtype=torch.float64)
    right_N = torch.zeros(len(train), dtype=torch.bool)
    weights = []
    for fold in range(folds):
        outside_N = fold_N == fold
        inside_N = ~outside_N if folds > 1 else outside_N
        students = _train(run, data, student, inside_N.nonzero().flatten().to(run.device), steps, fold)
        indices = outside_N.nonzero().flatten().to(run.device)
        batches = ((train.images(batch), train.labels[batch]) for batch in indices.split(1000))
        scores = _scorer(data, students.modules).score(batches)
        difficulty_N[outside_N], right_N[outside_N] = scores.difficulty, scores.right
        weights += students.state_dicts()
    return {"weights": weights, "difficulty": difficulty_N, "right": right_N}


def _train(
    run: Run, data: ImageDataset, student: StudentConfig, indices: Tensor, steps: int, fold: int
) -> training.Students:
    """The network of one fold, trained on the images at `indices`."""
    epochs = max(1, round(steps / math.ceil(len(indices) / PROTOCOL.batch_size)))
    return training.train_students(
        partial(models.for_data, student, data),
        lambda i: data.train.images(indices[i]),
        data.train.labels[indices],
        PROTOCOL,
        epochs=epochs - 1,
        seeds=[derive(0, "difficulty scorer", fold)],
        augmentation=data.augmentation,
        device=run.device,
        loop=lambda part, total, state: run.loop(f"train-scorer{fold}-{part}", total, state),
    )


def _scorer(data: ImageDataset, networks: list[nn.Module]) -> Scorer:
    return Scorer(networks, torch.arange(data.num_classes, device=data.train.labels.device))


def _network(run: Run, data: ImageDataset, student: StudentConfig, weights: dict[str, Tensor]) -> nn.Module:
    network = models.for_data(student, data)
    network.load_state_dict(weights)
    return network.to(run.device).eval().requires_grad_(False)
