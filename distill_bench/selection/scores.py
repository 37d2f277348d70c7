"""How hard images are for classifiers of the task: d(x) = 1 - p(y | x).

Legend: N images, K classes of the data set, J outputs of a classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill_bench import training
from distill_bench.errors import UserError

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["Scorer", "Scores", "by_class", "given_scorer"]


@dataclass(frozen=True)
class Scores:
    """`difficulty` (N,), float64, and whether the classifier gets the image `right` (N,); on the CPU."""

    difficulty: Tensor
    right: Tensor

    def rounded(self, decimals: int) -> Scores:
        """With difficulties of so many decimals, as the published scores are stored: zeros are then
        common."""
        return Scores(self.difficulty.round(decimals=decimals), self.right)


@dataclass(frozen=True)
class Scorer:
    """Frozen classifiers, whose probabilities are averaged.

    `outputs` (K,) says which of their outputs is each class's; `prepare` makes their input of normalised
    images.
    """

    networks: list[nn.Module]
    outputs: Tensor
    prepare: Callable[[Tensor], Tensor] = lambda images: images

    @torch.no_grad()
    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        """Scores of (images, labels), batch by batch, in order."""
        difficulty, right = [], []
        for images, labels in batches:
            piece = training.images_per_pass(self.networks[0], images.device) or len(images)
            for inputs, classes in zip(images.split(piece), labels.split(piece), strict=True):
                probability_NJ, wanted_N = self._probabilities(inputs), self.outputs[classes]
                difficulty.append(1 - probability_NJ.gather(1, wanted_N[:, None])[:, 0])
                right.append(probability_NJ.argmax(1) == wanted_N)
        return Scores(torch.cat(difficulty).clamp(0, 1).cpu(), torch.cat(right).cpu())

    def _probabilities(self, images: Tensor) -> Tensor:
        logits = torch.stack([network.eval()(self.prepare(images)).double() for network in self.networks])
        return logits.softmax(2).mean(0)


def given_scorer(data: ImageDataset, classifiers: Sequence[nn.Module]) -> tuple[Scorer, Scores]:
    """Trained classifiers of the data set's pixels in [0, 1] as a scorer, and its scores of the training
    images, which they may have seen: such scores are biased to 0."""
    outputs = torch.arange(data.num_classes, device=data.train.labels.device)
    scorer = Scorer(list(classifiers), outputs, data.transform.inverse)
    return scorer, scorer.score(data.train.batches(1000))


def by_class(scores: Scores, labels: Tensor, num_classes: int, what: str) -> list[Scores]:
    """The scores of each class, its images in order; UserError for a class of which `what` has none."""
    labels = labels.cpu()
    counts = labels.bincount(minlength=num_classes)
    if int(counts.min()) == 0:
        raise UserError(f"{what}: class {int(counts.argmin())} has no images to select by difficulty")
    order = labels.argsort(stable=True)
    parts = zip(
        *(values[order].split(counts.tolist()) for values in (scores.difficulty, scores.right)), strict=True
    )
    return [Scores(*part) for part in parts]
