"""The search for changed images on which networks err: restarts, the first success, only what still holds.

Axes: M networks, B images of a batch, b of them still attacked, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_bench.attacks.ball import PIXELS, Ball, Region
from distill_bench.attacks.maximise import ascend
from distill_bench.attacks.objectives import errs, objective
from distill_bench.groups import AttackConfig, AttackKind
from distill_bench.seeding import generator

__all__ = ["Attacked", "Networks", "attack_images"]

Networks = Callable[[Tensor], Tensor]
"""Pixels in [0, 1] -> logits: (B, C, H, W) -> (B, K) for one network, else (M, B, C, H, W), each network's
own images, -> (M, B, K)."""

_SLACK = 1e-6  # of the radius: rounding
_SHRINK = 7 / 8  # images that are done are left out once so few remain
_STEPS_TOGETHER = 5  # on a GPU, between two looks at how many remain: each holds the device up


@dataclass(frozen=True)
class Attacked:
    """What became of a batch: the images shown, and where networks stand."""

    images: Tensor  # (M, B, C, H, W): the first on which the network erred, else the last that was tried
    clean: Tensor  # (M, B) bool: right on the image as it is
    robust: Tensor  # (M, B) bool: right on it and on every image that was tried
    stuck: Tensor  # (M, B) bool: at some step there was no gradient, while the network was right


def attack_images(
    nets: Networks, copies: int, images: Tensor, labels: Tensor, attack: AttackConfig, seeds: Sequence[int]
) -> Attacked:
    """Attack M = `copies` networks at images (B, C, H, W) in [0, 1] of `labels` (B,), each on its own.

    `seeds`, one for each image, are all that its random starts follow from. Images that a network takes for
    another class as they are count as lost and are not attacked. Networks should be in evaluation mode.
    RuntimeError if an image shown is further away than eps + 1e-6 or outside [0, 1].
    """
    search = _Search(nets, copies, images, labels, attack)
    steps, step, restarts = _plan(attack)
    for restart in range(restarts):
        rows = search.holding.any(0).nonzero().flatten()
        if not len(rows):
            break
        start = images[rows]
        if attack.kind is AttackKind.noise or (attack.kind is AttackKind.pgd and attack.random_start):
            draws = [generator(seeds[row], restart) for row in rows.tolist()]
            start = start + search.drawn(draws)
        search.run(rows, start, steps, step)
    search.check_budget()
    return Attacked(search.shown, search.clean, search.holding, search.stuck)


def _plan(attack: AttackConfig) -> tuple[int, float, int]:
    """(steps, their length, restarts)."""
    return {
        AttackKind.none: (0, 0.0, 0),
        AttackKind.noise: (0, 0.0, attack.restarts),
        AttackKind.fgsm: (1, attack.eps, 1),
        AttackKind.pgd: (attack.steps, attack.step, attack.restarts),
    }[attack.kind]


class _Search:
    """A batch under attack."""

    def __init__(
        self, nets: Networks, copies: int, images: Tensor, labels: Tensor, attack: AttackConfig
    ) -> None:
        self.nets, self.copies, self.labels, self.loss = nets, copies, labels, attack.loss
        self.region = Region(images, Ball(attack.norm, attack.eps))
        self.shown = images.expand(copies, *images.shape).clone()
        with torch.no_grad():
            self.clean = ~errs(self.logits(self.shown), labels)
        self.holding = self.clean.clone()
        self.stuck = torch.zeros_like(self.clean)

    def logits(self, images_MBCHW: Tensor) -> Tensor:
        """(M, B, K), whether one network or several are asked."""
        several = self.copies > 1
        logits = self.nets(images_MBCHW if several else images_MBCHW.flatten(0, 1))
        return logits.view(self.copies, images_MBCHW.shape[1], -1)

    def drawn(self, draws: Sequence[torch.Generator]) -> Tensor:
        """A uniform change (b, C, H, W) by each image's own generator."""
        shape = tuple(self.shown.shape[-3:])
        return self.region.ball.draw_each(shape, draws).to(self.shown.device)

    def run(self, rows: Tensor, start: Tensor, steps: int, step: float) -> None:
        """One search of the images `rows` (b,), from `start` (b, C, H, W) for every network.

        It is cut into parts, between which images that all networks took for another class are left out.
        """
        part = _Part(self, rows)
        images = part.region.project(start).expand(self.copies, *start.shape)
        together = 1 if images.device.type == "cpu" else _STEPS_TOGETHER
        for first in range(0, steps, together):
            images, stuck = ascend(part.objective, part.region, images, min(together, steps - first), step)
            part.stuck |= stuck & part.holding
            keep = part.holding.any(0).nonzero().flatten()
            if len(keep) <= _SHRINK * len(part.rows):
                part.write()
                part, images = _Part(self, part.rows[keep]), images[:, keep]
            if not len(keep):
                return
        with torch.no_grad():
            part.look(images, self.logits(images))
        part.shown = torch.where(_image_wise(part.holding), images, part.shown)
        part.write()

    def check_budget(self) -> None:
        """RuntimeError unless every image shown is in the ball and in the box."""
        distance, (low, high) = self.region.distance(self.shown), self.shown.aminmax()
        allowed = self.region.ball.eps + _SLACK
        if not bool((distance <= allowed).all() & (low >= 0) & (high <= 1)):
            far, span = float(distance.max()), f"[{float(low)}, {float(high)}]"
            raise RuntimeError(f"an attacked image is {far} away (at most {allowed}) with pixels in {span}")


class _Part:
    """The images of a batch on which a search goes on, and what was seen of them."""

    def __init__(self, search: _Search, rows: Tensor) -> None:
        self.search, self.rows = search, rows
        self.region, self.labels = search.region.of(rows), search.labels[rows]
        self.shown, self.holding = search.shown[:, rows], search.holding[:, rows]
        self.stuck = search.stuck[:, rows]

    def objective(self, images: Tensor) -> Tensor:
        """The attack's loss of each image, (M, b); the logits it needs are also those that are looked at."""
        logits = self.search.logits(images)
        self.look(images.detach(), logits.detach())
        return objective(self.search.loss, logits, self.labels)

    def look(self, images: Tensor, logits: Tensor) -> None:
        """Keep the images on which a network errs for the first time."""
        new = errs(logits, self.labels) & self.holding
        self.holding = self.holding & ~new
        if new.device.type != "cpu":
            self.shown = torch.where(_image_wise(new), images, self.shown)
        elif new.any():  # asking another device would hold it up
            self.shown[new] = images[new]

    def write(self) -> None:
        """Into the batch."""
        search = self.search
        search.shown[:, self.rows], search.holding[:, self.rows] = self.shown, self.holding
        search.stuck[:, self.rows] = self.stuck


def _image_wise(flags: Tensor) -> Tensor:
    """(...) -> (..., 1, 1, 1)."""
    return flags[(..., *(None,) * len(PIXELS))]
