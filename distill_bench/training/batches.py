"""The batches of an epoch, as M networks see them: each its own order of the set, augmented and mixed.

Axes: M networks, N images of the set, B of a batch, C x H x W. Every draw follows from a network's seed and
the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench import augment
from distill_bench.groups import Augmentation, Recipe
from distill_bench.seeding import generator
from distill_bench.training.canvas import Patches
from distill_bench.training.crop import CropAugmentation
from distill_bench.training.cutmix import cutmix, draw_mix
from distill_bench.training.distributed import Part, part_of
from distill_bench.training.pad_crop import PadCrop
from distill_bench.training.schedule import steps_of_epoch

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["Batch", "Batches", "DrawnBatches", "Fetch"]

Fetch = Callable[[Tensor], Tensor]
"""Indices (B,) -> images (B, C, H, W), normalised."""


@dataclass(frozen=True)
class Batch:
    """Images (M, B, C, H, W) and labels (M, B), and where they stand in their set, indices (M, B).

    Mixed images also have `others`, the labels (M, B) of what is pasted in, and `share` (M,), the part of
    each image that is its own. Where several processes train together, `part` is what this one has of it.
    """

    images: Tensor
    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None
    indices: Tensor | None = None
    part: Part | None = None

    def of(self, part: Part) -> Batch:
        """The images of one process, given those of all."""
        at = part.at
        others, indices = (None if each is None else each[:, at] for each in (self.others, self.indices))
        return Batch(self.images[:, at], self.labels[:, at], others, self.share, indices, part)

    def split(self, size: int) -> list[Batch]:
        """Pieces of `size` images of each network."""
        images, labels = self.images.split(size, 1), self.labels.split(size, 1)
        others, indices = (
            [None] * len(images) if part is None else part.split(size, 1)
            for part in (self.others, self.indices)
        )
        return [
            Batch(*piece[:3], self.share, piece[3])
            for piece in zip(images, labels, others, indices, strict=True)
        ]


class DrawnBatches:
    """Batches that are drawn one by one, `draw(step)` -> images (B, C, H, W) and labels (B,), for one
    network: no image need come as often as another. `count` of them are called an epoch."""

    def __init__(self, draw: Callable[[int], tuple[Tensor, Tensor]], count: int) -> None:
        self.draw, self.count = draw, count

    def epoch(self, epoch: int, first: int = 0, *, whole: bool = False) -> Iterator[Batch]:
        """The batches of the epoch from number `first` on; of each, this process's part, or the `whole`."""
        for step in range(epoch * self.count + first, (epoch + 1) * self.count):
            images, labels = self.draw(step)
            yield Batch(images[None], labels[None]).of(part_of(len(labels), whole=whole))


class Batches:
    """A labelled set, `fetch(0 .. N-1)` with `labels` (N,), as the networks of `seeds` see it.

    `families`: the data set's differentiable augmentations that keep its labels; only if "flip" is one of
    them do crops come with a flip. `colours`: the data set's normalisation, without which no colour is
    changed. `canvas`: where the images are canvases, the images a side of each, which are augmented one by
    one and change places.
    """

    def __init__(
        self,
        fetch: Fetch,
        labels: Tensor,
        recipe: Recipe,
        seeds: list[int],
        families: str,
        colours: Transform | None,
        canvas: int = 1,
    ) -> None:
        self.fetch, self.labels, self.recipe, self.seeds = fetch, labels, recipe, seeds
        self.count = steps_of_epoch(recipe, len(labels))
        siamese = recipe.augment and recipe.augmentation is Augmentation.siamese
        self.strategy = families if siamese else ""
        self.crop = _crop(recipe, families, colours, canvas) if recipe.augment and not siamese else None

    def epoch(self, epoch: int, first: int = 0, *, whole: bool = False) -> Iterator[Batch]:
        """The batches of the epoch from number `first` on, the last one smaller where the set ends; of each,
        this process's part, or the `whole`."""
        count, size = len(self.labels), self.recipe.batch_size
        augmented = self._crops(epoch, count) if self.crop else self._siamese(epoch, count)
        mixing = [generator(seed, "cutmix", epoch) for seed in self.seeds]
        for step, whole_MB in enumerate(self._order(epoch, count).split(size, dim=1)[: self.count]):
            length = whole_MB.shape[1]
            if step < first:
                _skip(mixing if self.recipe.cutmix else [], length)
                continue
            part = part_of(length, whole=whole)
            at = slice(0, length) if self.recipe.cutmix else part.at  # images are mixed with those of others
            indices_MB = whole_MB[:, at]
            images_MBCHW = self.fetch(indices_MB.flatten()).unflatten(0, indices_MB.shape)
            place = slice(step * size + at.start, step * size + at.stop)
            images_MBCHW = augmented(images_MBCHW, step, place)
            batch = Batch(images_MBCHW, self.labels[indices_MB], indices=indices_MB, part=part)
            yield _mixed(batch, mixing).of(part) if self.recipe.cutmix else batch

    def _order(self, epoch: int, count: int) -> Tensor:
        """Each network's own permutation of the set, (M, N)."""
        orders = [torch.randperm(count, generator=generator(seed, "order", epoch)) for seed in self.seeds]
        return torch.stack(orders).to(self.labels.device, non_blocking=True)

    def _siamese(self, epoch: int, count: int) -> Callable[[Tensor, int, slice], Tensor]:
        """One family for each batch of each network, its parameters drawn for each image."""
        draws = [
            torch.rand(count, augment.UNIFORMS, generator=g, device=g.device) for g in self._generators(epoch)
        ]
        uniforms_MNU = torch.stack(draws)
        families_MS = [
            augment.draw_families(self.strategy, self.count, generator(seed, "families", epoch))
            for seed in self.seeds
        ]

        def augmented(images_MBCHW: Tensor, step: int, at: slice) -> Tensor:
            if not self.strategy:
                return images_MBCHW
            draw = augment.Draw(tuple(families[step] for families in families_MS), uniforms_MNU[:, at])
            return augment.apply(draw, images_MBCHW)

        return augmented

    def _crops(self, epoch: int, count: int) -> Callable[[Tensor, int, slice], Tensor]:
        """A crop, a flip and colours drawn for each image."""
        assert self.crop is not None
        crop = self.crop
        random_MNU = torch.stack([crop.draw(count, g) for g in self._generators(epoch)])

        def augmented(images_MBCHW: Tensor, _step: int, at: slice) -> Tensor:
            random = random_MNU[:, at].flatten(0, 1)
            return crop(images_MBCHW.flatten(0, 1), random).view(images_MBCHW.shape)

        return augmented

    def _generators(self, epoch: int) -> Iterator[torch.Generator]:
        """Of the augmentation of each network, on the device."""
        return (generator(seed, "augment", epoch, device=self.labels.device) for seed in self.seeds)


def _crop(
    recipe: Recipe, families: str, colours: Transform | None, canvas: int
) -> CropAugmentation | PadCrop | Patches:
    flip = "flip" in families.split("_")
    if recipe.augmentation is Augmentation.pad_crop:
        return PadCrop(colours, recipe.pad, flip, recipe.rotation)
    crop = CropAugmentation(colours, recipe.crop_area, flip, recipe.colour_jitter, recipe.lighting)
    return crop if canvas == 1 else Patches(crop, canvas)


def _mixed(batch: Batch, mixing: list[torch.Generator]) -> Batch:
    """The batch after CutMix, each network's by its own generator."""
    size, height, width = batch.images.shape[1], *batch.images.shape[-2:]
    images, partners_MB, share_M = cutmix(batch.images, [draw_mix(size, (height, width), g) for g in mixing])
    return Batch(images, batch.labels, batch.labels.gather(1, partners_MB), share_M, batch.indices)


def _skip(mixing: list[torch.Generator], size: int) -> None:
    """Draw what a batch that is left out would have drawn."""
    for draws in mixing:
        draw_mix(size, (1, 1), draws)
