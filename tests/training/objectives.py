"""An objective that learns and remembers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import training
from distill_bench.models import Features
from distill_bench.seeding import generator
from distill_bench.training.batches import Batch
from tests.training.build import CLASSES

WIDTH = 8 * 2 * 2  # of the embedding of `build.network`


class Projected(training.Objective):
    """Cross-entropy, and the embedding's distance to running class centres through a layer of its own."""

    features = True
    whole = True
    centres: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, 4).double()
        for i, parameter in enumerate(self.layer.parameters()):
            nn.init.normal_(parameter, std=0.1, generator=generator(0, "layer", i))
        self.register_buffer("centres", torch.zeros(CLASSES, 4, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, output: Features, batch: Batch) -> Tensor:
        labels = batch.labels.flatten()
        projected = self.layer(output.embedding)
        with torch.no_grad():
            self.centres.index_add_(0, labels, projected, alpha=0.1).mul_(0.9)
        distance = (projected - self.centres[labels]).square().sum()
        return F.cross_entropy(output.logits, labels, reduction="sum") + 0.1 * distance

    def begin_epoch(self, epoch: int) -> None:
        self.seen += epoch + 1
