"""One classifier, trained on whatever it learns from, towards whatever objective."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill_bench import information, models, products, training
from distill_bench.classification.settings import ClassifierConfig, Select
from distill_bench.classification.trainset import TrainingImages, some_of_each_class
from distill_bench.errors import require
from distill_bench.seeding import derive, generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import RecipeConfig, StudentConfig
    from distill_bench.running import Run

__all__ = ["train_classifier"]

READINGS = ("error", "cmi", "ncmi")  # of curves: %, nat, a ratio


def train_classifier(
    run: Run,
    data: ImageDataset,
    images: TrainingImages,
    student: StudentConfig,
    recipe: RecipeConfig,
    settings: ClassifierConfig,
    objective: training.Objective,
) -> products.Classifier:
    """Train `student` on `images` by `recipe` towards `objective`; made of the last epoch's weights, unless
    those that did best on held-out images are asked for.

    Everything drawn follows from the run's seed. The network of seed 0 under the recipe `full_data` is that
    of the ceilings of dataset distillation.
    """
    net = models.for_data(student, data)
    held = None
    if settings.held_out:
        images, held = _hold_out(images, settings.held_out)
    watch = _Watch(data, images, held, settings, net, run.device)
    count = training.steps_of_epoch(recipe, len(images))
    epochs = training.epochs_of(recipe, count)
    watch.open(training.epochs_run(recipe, epochs))
    training.train_students(
        lambda: net,
        images.fetch,
        images.labels,
        recipe,
        epochs=epochs,
        seeds=[derive(0, "full data", run.seed)],
        augmentation=data.augmentation,
        device=run.device,
        loop=lambda _, total, state: run.loop("train", total, {**state, **watch.state}),
        colours=images.transform,
        objective=objective,
        on_epoch=watch,
        log=lambda step, loss: run.log("train", step, loss=loss),
    )
    watch.choose()
    return products.Classifier(
        backbone=net,
        network=student,
        transform=images.transform,
        class_names=data.class_names,
        channels=data.channels,
        resolution=data.resolution,
        curves=watch.curves(),
        record={"kept_epoch": watch.kept, "recipe": recipe.name, "images": len(images)},
    )


def _hold_out(images: TrainingImages, per_class: int) -> tuple[TrainingImages, TrainingImages]:
    """(the rest, the held-out images). UserError if a class would have none left."""
    counts_K = images.labels.bincount()
    smallest = int(counts_K.min())
    allowed = f"from 0 to {smallest - 1}: the smallest class has {smallest} images"
    require(per_class < smallest, "method.held_out", per_class, allowed)
    draws = generator(0, "held out")
    held = some_of_each_class(images.labels, torch.full_like(counts_K, per_class), draws)
    inside = torch.ones(len(images), dtype=torch.bool, device=held.device)
    inside[held] = False
    return images.only(inside.nonzero().flatten()), images.only(held)


class _Watch:
    """What is noted after each epoch: the training loss, and what the network says of images."""

    def __init__(
        self,
        data: ImageDataset,
        images: TrainingImages,
        held: TrainingImages | None,
        settings: ClassifierConfig,
        net: nn.Module,
        device: torch.device,
    ) -> None:
        self.data, self.transform, self.held, self.settings = data, images.transform, held, settings
        self.net, self.device = net, device
        self.selects = settings.select is Select.held_out
        self.state: dict[str, Tensor] = {}

    def open(self, epochs: int) -> None:
        """Room for the notes of so many epochs."""
        self.state["losses"] = torch.zeros(epochs, device=self.device)
        if self.settings.curves or self.selects:
            self.state["readings"] = torch.zeros(epochs, len(READINGS), dtype=torch.float64)
        if self.selects:
            self.state["best"] = torch.tensor([101.0, -1.0], dtype=torch.float64)  # error, epoch
            weights = self.net.state_dict()
            self.state |= {f"best {name}": value.clone().to(self.device) for name, value in weights.items()}

    def __call__(self, epoch: int, loss: Tensor) -> None:
        """Note the epoch that ended before `epoch`."""
        if not epoch:
            return
        self.state["losses"][epoch - 1] = loss
        if "readings" not in self.state:
            return
        reading = self._read()
        self.state["readings"][epoch - 1] = torch.tensor([reading[name] for name in READINGS])
        if self.selects and reading["error"] < self.state["best"][0]:
            self.state["best"].copy_(torch.tensor([reading["error"], epoch - 1.0]))
            for name, value in self.net.state_dict().items():
                self.state[f"best {name}"].copy_(value)

    def choose(self) -> None:
        """Put the weights that are kept into the network."""
        if self.selects:
            self.net.load_state_dict({name: self.state[f"best {name}"] for name in self.net.state_dict()})

    @property
    def kept(self) -> int:
        """The epoch, from 1, after which the kept weights were."""
        return int(self.state["best"][1]) + 1 if self.selects else len(self.state["losses"])

    def curves(self) -> dict[str, list[float]]:
        """A value for each epoch, by name."""
        curves = {"loss": self.state["losses"].tolist()}
        if "readings" in self.state:
            curves |= dict(zip(READINGS, self.state["readings"].T.tolist(), strict=True))
        return curves

    @torch.no_grad()
    def _read(self) -> dict[str, float]:
        """Error (%), CMI (nat) and NCMI on the held-out images, or else on the test images."""
        meter = information.InformationMeter(self.data.num_classes, self.device)
        self.net.eval()
        for inputs, labels in self._batches():
            meter.update(self.net(inputs), labels)
        self.net.train()
        reading = meter.compute()
        ncmi = reading.ncmi if math.isfinite(reading.ncmi) else 0.0
        return {"error": 100 * reading.error, "cmi": reading.cmi, "ncmi": ncmi}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.held is not None:
            indices = torch.arange(len(self.held), device=self.held.labels.device).split(500)
            return ((self.held.fetch(i), self.held.labels[i]) for i in indices)
        test = self.data.test
        pixels = test.pixels(500)
        return (
            (self.transform.forward(batch), labels)
            for batch, labels in zip(pixels, test.labels.split(500), strict=True)
        )
