"""What an attack looks like: an image of each class as it is, the change, and the image that is shown.

Axes: K classes, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_bench import reporting
from distill_bench.attacks.conditions import at_rest, single_precision
from distill_bench.attacks.evaluate import Flags
from distill_bench.attacks.search import Networks, attack_images
from distill_bench.groups import AttackConfig
from distill_bench.seeding import derive

if TYPE_CHECKING:
    from distill_bench.data import Split

__all__ = ["draw_examples"]


def draw_examples(
    path: Path,
    nets: Networks,
    copies: int,
    split: Split,
    attack: AttackConfig,
    flags: Flags,
    class_names: Sequence[str],
    seed: int,
) -> bool:
    """Write a PNG with a row for each class: an image, what `attack` adds to it, and both together.

    `flags` are what `robust_flags` found of these networks and this split with this run's `seed`. The image
    is the first of its class that the first network takes for its class, one that the attack turns where
    there is one. Rows are named by what the network sees, before and after. False, and no file, if it is
    right nowhere.
    """
    chosen = _chosen(flags)
    if not len(chosen):
        return False
    device = split.labels.device
    places = flags.indices[chosen]
    clean, labels = split.unit(places.to(device)), split.labels[places.to(device)]
    seeds = [derive(seed, "attack", index) for index in places.tolist()]
    with single_precision(), at_rest(nets):
        shown = attack_images(nets, copies, clean, labels, attack, seeds).images
        with torch.no_grad():
            logits = nets(shown if copies > 1 else shown.flatten(0, 1))
    seen = logits.view(copies, len(places), -1)[0].argmax(1)
    change = shown[0] - clean
    largest = float(change.abs().max()) or 1.0
    names = [
        f"{class_names[label]} → {class_names[after]}"
        for label, after in zip(labels.tolist(), seen.tolist(), strict=True)
    ]
    images_K3CHW = torch.stack([clean, 0.5 + change / (2 * largest), shown[0]], 1)
    reporting.image_grid(
        path,
        images_K3CHW.cpu().numpy(),
        names,
        f"{attack.name} · at most {attack.eps:.3g} a pixel" if attack.norm.name == "linf" else attack.name,
        "test image, the change (enlarged), both; the class that the network sees, before → after",
    )
    return True


def _chosen(flags: Flags) -> Tensor:
    """Rows of `flags` (K' <= K,), one of each class in which the first network is right at all."""
    clean, robust = flags.clean[:, 0], flags.robust[:, 0]
    rank = clean.long() + (clean & ~robust).long()  # 2: turned by the attack, 1: held, 0: wrong as it is
    rows = []
    for label in flags.labels.unique().tolist():
        own = (flags.labels == label).nonzero().flatten()
        best = own[rank[own].argmax()]
        rows += [best] if rank[best] else []
    return torch.stack(rows) if rows else torch.empty(0, dtype=torch.long)
