"""Robust accuracy: which test images networks still get right when an attack looks for a change of them.

Axes: M networks, N attacked images, B of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill_bench.attacks.conditions import at_rest, single_precision
from distill_bench.attacks.maximise import check_pixels
from distill_bench.attacks.search import Networks, attack_images
from distill_bench.errors import require
from distill_bench.files import write_with
from distill_bench.groups import AttackConfig
from distill_bench.metrics import Measure
from distill_bench.seeding import derive, generator

if TYPE_CHECKING:
    from distill_bench.data import Split
    from distill_bench.running import Run

__all__ = ["Flags", "balanced_subset", "robust_flags"]


@dataclass(frozen=True)
class Flags:
    """Of each attacked image and network, whether it is right; on the CPU."""

    attack: str  # the attack's name
    indices: Tensor  # (N,) places in the test set, rising
    labels: Tensor  # (N,)
    clean: Tensor  # (N, M) bool: right on the image as it is
    robust: Tensor  # (N, M) bool: right on it and on every image that the attack tried
    stuck: Tensor  # (N, M) bool: robust, but at some step of the attack there was no gradient

    def measures(self, facets: Mapping[str, str] | None = None) -> list[Measure]:
        """`robust_accuracy` (%) of each network, told apart by `facets` and by the attack."""
        values = [100 * count / len(self.indices) for count in self.robust.sum(0).tolist()]
        return [
            Measure(name="robust_accuracy", values=values, facets={**(facets or {}), "attack": self.attack})
        ]

    def save(self, path: Path) -> None:
        """Write a Parquet file: a row for each network and image, of index, label, network, clean, robust.

        From such files of several attacks follows which images hold under all of them.
        """
        import pandas as pd

        count, copies = self.robust.shape
        columns = {
            "index": self.indices.repeat(copies),
            "label": self.labels.repeat(copies),
            "network": torch.arange(copies).repeat_interleave(count),
            "clean": self.clean.T.flatten(),
            "robust": self.robust.T.flatten(),
        }
        frame = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
        write_with(path, lambda temporary: frame.to_parquet(temporary, index=False))


def robust_flags(
    run: Run,
    nets: Networks,
    copies: int,
    split: Split,
    attack: AttackConfig,
    name: str,
    batch_size: int = 250,
) -> Flags:
    """Attack M = `copies` networks of pixels in [0, 1] on the images of `split`; `name` is the loop's.

    `nets`: see `Networks`; a module is attacked in evaluation mode, at rest, in single precision, and left as
    it was. Random starts follow from the run's seed and the image, so the size of the batch changes nothing
    but rounding. It is resumed by batches. UserError for more images than there are; RuntimeError if the
    attack left its ball or the box.
    """
    device, indices = split.labels.device, balanced_subset(split, attack.images)
    batches = indices.split(batch_size)
    state: dict[str, Any] = {
        key: torch.zeros(len(indices), copies, dtype=torch.bool) for key in ("clean", "robust", "stuck")
    }
    with single_precision(), at_rest(nets):
        for number in run.loop(name, len(batches), state):
            chosen = batches[number]
            seeds = [derive(run.seed, "attack", index) for index in chosen.tolist()]
            places, images = chosen.to(device), split.unit(chosen.to(device))
            check_pixels(images)
            found = attack_images(nets, copies, images, split.labels[places], attack, seeds)
            rows = slice(number * batch_size, number * batch_size + len(chosen))
            for key, flags in state.items():
                flags[rows] = getattr(found, key).T.cpu()
    flags = Flags(attack.name, indices, split.labels[indices.to(device)].cpu(), **state)
    flags.stuck.logical_and_(flags.robust)
    _tell(run, flags, name)
    return flags


def balanced_subset(split: Split, count: int) -> Tensor:
    """Rising places (n,) of `count` images whose classes are as equal as the split allows; 0: all of them.

    The same for every run, and a part of every larger subset. UserError for more images than there are.
    """
    labels = split.labels.cpu()
    require(count <= len(labels), "attack.images", count, f"at most {len(labels)}, the images of the split")
    if count in (0, len(labels)):
        return torch.arange(len(labels))
    draws = generator(0, "attack", "subset")
    order = torch.randperm(len(labels), generator=draws)
    order = order[labels[order].argsort(stable=True)]
    counts = labels.bincount()
    turn = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    first = torch.randperm(len(counts), generator=draws)[labels[order]]  # the class that gets an image more
    return order[(turn * len(counts) + first).argsort()[:count]].sort().values


def _tell(run: Run, flags: Flags, name: str) -> None:
    """Say it where an attack had nothing to go by: what survived it then is not shown to be robust."""
    stuck, held = int(flags.stuck.sum()), int(flags.robust.sum())
    if stuck:
        run.say(
            f"{name}: {stuck} of {held} images that held had no gradient at some step of attack="
            f"{flags.attack}: they may not be robust; attack.loss=margin has a gradient where ce has none"
        )
