"""The batches of an epoch, as M networks see them: each its own order of the set, augmented and mixed.

Axes: M networks, N images of the set, B of a batch, C x H x W. Every draw follows from a network's seed and
the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench import augment
from distill_bench.groups import Augmentation, ProtocolConfig
from distill_bench.seeding import generator
from distill_bench.training.crop import CropAugmentation
from distill_bench.training.cutmix import cutmix, draw_mix

if TYPE_CHECKING:
    from distill_bench.data import Transform

__all__ = ["Batch", "Batches", "Fetch"]

Fetch = Callable[[Tensor], Tensor]
"""Indices (B,) -> images (B, C, H, W), normalised."""


@dataclass(frozen=True)
class Batch:
    """Images (M, B, C, H, W) and labels (M, B).

    Mixed images also have `others`, the labels (M, B) of what is pasted in, and `share` (M,), the part of
    each image that is its own.
    """

    images: Tensor
    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None

    def split(self, size: int) -> list[Batch]:
        """Pieces of `size` images of each network."""
        images, labels = self.images.split(size, 1), self.labels.split(size, 1)
        others = [None] * len(images) if self.others is None else self.others.split(size, 1)
        return [Batch(*piece, self.share) for piece in zip(images, labels, others, strict=True)]


class Batches:
    """A labelled set, `fetch(0 .. N-1)` with `labels` (N,), as the networks of `seeds` see it.

    `families`: the data set's differentiable augmentations that keep its labels; only if "flip" is one of
    them do crops come with a flip. `colours`: the data set's normalisation, without which no colour is
    changed.
    """

    def __init__(
        self,
        fetch: Fetch,
        labels: Tensor,
        protocol: ProtocolConfig,
        seeds: list[int],
        families: str,
        colours: Transform | None,
    ) -> None:
        self.fetch, self.labels, self.protocol, self.seeds = fetch, labels, protocol, seeds
        self.count = math.ceil(len(labels) / protocol.batch_size)  # batches of an epoch
        crops = protocol.augmentation is Augmentation.crop
        self.strategy = families if protocol.augment and not crops else ""
        self.crop = _crop(protocol, families, colours) if protocol.augment and crops else None

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """All batches of the epoch, the last one smaller where the set ends."""
        count, size = len(self.labels), self.protocol.batch_size
        augmented = self._crops(epoch, count) if self.crop else self._siamese(epoch, count)
        mixing = [generator(seed, "cutmix", epoch) for seed in self.seeds]
        for step, indices_MB in enumerate(self._order(epoch, count).split(size, dim=1)):
            images_MBCHW = self.fetch(indices_MB.flatten()).unflatten(0, indices_MB.shape)
            batch = Batch(augmented(images_MBCHW, step), self.labels[indices_MB])
            yield _mixed(batch, mixing) if self.protocol.cutmix else batch

    def _order(self, epoch: int, count: int) -> Tensor:
        """Each network's own permutation of the set, (M, N)."""
        orders = [torch.randperm(count, generator=generator(seed, "order", epoch)) for seed in self.seeds]
        return torch.stack(orders).to(self.labels.device, non_blocking=True)

    def _siamese(self, epoch: int, count: int) -> Callable[[Tensor, int], Tensor]:
        """One family for each batch of each network, its parameters drawn for each image."""
        size = self.protocol.batch_size
        draws = [
            torch.rand(count, augment.UNIFORMS, generator=g, device=g.device) for g in self._generators(epoch)
        ]
        uniforms_MNU = torch.stack(draws)
        families_MS = [
            augment.draw_families(self.strategy, self.count, generator(seed, "families", epoch))
            for seed in self.seeds
        ]

        def augmented(images_MBCHW: Tensor, step: int) -> Tensor:
            if not self.strategy:
                return images_MBCHW
            at = slice(step * size, (step + 1) * size)
            draw = augment.Draw(tuple(families[step] for families in families_MS), uniforms_MNU[:, at])
            return augment.apply(draw, images_MBCHW)

        return augmented

    def _crops(self, epoch: int, count: int) -> Callable[[Tensor, int], Tensor]:
        """A crop, a flip and colours drawn for each image."""
        assert self.crop is not None
        crop, size = self.crop, self.protocol.batch_size
        random_MNU = torch.stack([crop.draw(count, g) for g in self._generators(epoch)])

        def augmented(images_MBCHW: Tensor, step: int) -> Tensor:
            random = random_MNU[:, step * size : (step + 1) * size].flatten(0, 1)
            return crop(images_MBCHW.flatten(0, 1), random).view(images_MBCHW.shape)

        return augmented

    def _generators(self, epoch: int) -> Iterator[torch.Generator]:
        """Of the augmentation of each network, on the device."""
        return (generator(seed, "augment", epoch, device=self.labels.device) for seed in self.seeds)


def _crop(protocol: ProtocolConfig, families: str, colours: Transform | None) -> CropAugmentation:
    flip = "flip" in families.split("_")
    return CropAugmentation(colours, protocol.crop_area, flip, protocol.colour_jitter, protocol.lighting)


def _mixed(batch: Batch, mixing: list[torch.Generator]) -> Batch:
    """The batch after CutMix, each network's by its own generator."""
    size, height, width = batch.images.shape[1], *batch.images.shape[-2:]
    images, partners_MB, share_M = cutmix(batch.images, [draw_mix(size, (height, width), g) for g in mixing])
    return Batch(images, batch.labels, batch.labels.gather(1, partners_MB), share_M)
