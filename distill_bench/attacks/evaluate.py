"""What an attack does to classifiers on a test set, image by image.

Axes: M networks, N images, B of a batch, K classes, C x H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench.attacks.maximise import Budget, cross_entropy, margin, maximise, random_within
from distill_bench.errors import require
from distill_bench.files import write_with
from distill_bench.groups import AttackConfig, AttackLoss
from distill_bench.metrics import Measure
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import Split
    from distill_bench.running import Run

__all__ = ["Flags", "robust_flags"]

BATCH = 250  # images of one pass
ROUNDING = 1e-6  # by which a change may exceed its budget

Logits = Callable[[Tensor], Tensor]
"""Pixels (M, B, C, H, W) in [0, 1], an own image for each network -> logits (M, B, K)."""


@dataclass(frozen=True)
class Flags:
    """Which images each network gets right: `clean` and `robust` (N, M), of the test images at `indices` (N,)
    with `labels` (N,). Robust: right at the image itself and at everything that was tried."""

    attack: str
    indices: Tensor
    labels: Tensor
    clean: Tensor
    robust: Tensor

    def measures(self, facets: Mapping[str, str]) -> list[Measure]:
        """`robust_accuracy` (%), one value a network, with the facet `attack`."""
        values = (100 * self.robust.double().mean(0)).tolist()
        return [Measure(name="robust_accuracy", values=values, facets={**facets, "attack": self.attack})]

    def save(self, path: Path) -> Path:
        """Write a line for each image and network: index, label, network, clean, robust (Parquet)."""
        import pandas as pd

        count, networks = self.clean.shape
        frame = pd.DataFrame(
            {
                "index": self.indices.repeat_interleave(networks).numpy(),
                "label": self.labels.repeat_interleave(networks).numpy(),
                "network": torch.arange(networks).repeat(count).numpy(),
                "clean": self.clean.flatten().numpy(),
                "robust": self.robust.flatten().numpy(),
            }
        )
        write_with(path, lambda temporary: frame.to_parquet(temporary, index=False))
        return path


def robust_flags(
    run: Run, logits: Logits, networks: int, split: Split, attack: AttackConfig, name: str
) -> Flags:
    """Attack M = `networks` classifiers on the images of `split`, in float32, resumable after each batch by
    the loop `name`.

    Random starts follow from the run's seed and the image alone, so all networks have the same. An image is
    tried no more once no network gets it right. RuntimeError if a change ever exceeds the budget.
    """
    indices = _selection(split, attack.images)
    labels = split.labels[indices]
    flags = torch.zeros(2, len(indices), networks, dtype=torch.bool, device=labels.device)
    pieces = torch.arange(len(indices), device=labels.device).split(BATCH)
    with _exact():
        for number in run.loop(name, len(pieces), {"flags": flags}):
            at = pieces[number]
            pixels = split.unit(indices[at])
            starts = partial(_start, pixels, attack, run.seed, number)
            flags[:, at] = _attacked(logits, networks, pixels, labels[at], attack, starts)
    clean, robust = flags.cpu()
    return Flags(attack.name, indices.cpu(), labels.cpu(), clean, robust)


def _attacked(
    logits: Logits,
    networks: int,
    pixels: Tensor,
    labels: Tensor,
    attack: AttackConfig,
    starts: Callable[[int], Tensor],
) -> Tensor:
    """Clean and robust flags (2, B, M) of a batch; `starts` gives the first images (B, C, H, W) of a
    restart."""
    images, wanted = pixels.expand(networks, *pixels.shape), labels.expand(networks, -1)
    with torch.no_grad():
        clean = logits(images).argmax(-1) == wanted
    robust = clean.clone()
    for restart in range(attack.restarts if attack.eps else 0):
        alive = robust.any(0).nonzero()[:, 0]  # the images that some network still gets right
        if len(alive):
            start = starts(restart).expand_as(images)[:, alive]
            robust[:, alive] &= _withstood(logits, images[:, alive], wanted[:, alive], start, attack)
    return torch.stack([clean.T, robust.T])


def _withstood(logits: Logits, images: Tensor, labels: Tensor, start: Tensor, attack: AttackConfig) -> Tensor:
    """Whether every iterate of one attack is still classified as its label, (M, B)."""
    gain = margin if attack.loss is AttackLoss.margin else cross_entropy
    budget = Budget(attack.norm, attack.eps)
    right = torch.ones_like(labels, dtype=torch.bool)

    def losses(changed: Tensor) -> Tensor:
        outputs = logits(changed)
        right.logical_and_(outputs.detach().argmax(-1) == labels)
        return gain(outputs, labels)

    last = start
    if attack.loss is not AttackLoss.noise:
        last = maximise(losses, images, budget, step=attack.step, steps=attack.steps, start=start)
    with torch.no_grad():
        losses(last)
    if float(budget.excess(last, images)) > ROUNDING:
        raise RuntimeError(f"attack={attack.name}: a change exceeds its budget")
    return right


def _start(pixels: Tensor, attack: AttackConfig, seed: int, batch: int, restart: int) -> Tensor:
    """The first images of a restart: random ones within the budget, or the images themselves."""
    if not attack.random_start and attack.loss is not AttackLoss.noise:
        return pixels
    draws = generator(seed, "attack", batch, restart, device=pixels.device)
    uniforms = torch.rand(pixels.shape, generator=draws, device=pixels.device)
    normals = torch.randn(pixels.shape, generator=draws, device=pixels.device)
    return random_within(pixels, Budget(attack.norm, attack.eps), uniforms, normals)


def _selection(split: Split, wanted: int) -> Tensor:
    """The indices of all images, or of `wanted` of all classes alike, in order; drawn once for everybody."""
    if not wanted or wanted == len(split):
        return torch.arange(len(split), device=split.labels.device)
    require(wanted <= len(split), "attack.images", wanted, f"at most {len(split)}, the test images")
    keys = torch.rand(len(split), generator=generator(0, "attacked images"), dtype=torch.float64)
    order = (split.labels + keys.to(split.labels.device)).argsort()  # class by class, in random order
    counts = split.class_counts
    place = torch.arange(len(split), device=order.device) - (counts.cumsum(0) - counts)[split.labels[order]]
    first = place.argsort(stable=True)[:wanted]  # the first of each class, then the second of each, ...
    return order[first].sort().values


@contextmanager
def _exact() -> Iterator[None]:
    """float32 throughout: no TF32, no automatic half precision."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
