"""The inner maximisation: the worst image near an image, for a loss.

Axes: any leading ones (networks, images), then C channels, H x W pixels. Pixels lie in [0, 1]; norms are over
all pixels and channels of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_bench.groups import AttackNorm

__all__ = ["Budget", "Losses", "cross_entropy", "margin", "maximise", "random_within"]

Losses = Callable[[Tensor], Tensor]
"""Images (..., C, H, W) -> the loss of each (...), which is to be large."""

PIXELS = (-3, -2, -1)


@dataclass(frozen=True)
class Budget:
    """How far an image may be changed: `eps` in the norm linf or l2, within [0, 1]."""

    norm: AttackNorm
    eps: float

    def project(self, changed: Tensor, images: Tensor) -> Tensor:
        """The nearest image within the budget of `images`, and within [0, 1]."""
        if self.norm is AttackNorm.linf:
            low, high = (images - self.eps).clamp_min(0), (images + self.eps).clamp_max(1)
            return changed.maximum(low).minimum(high)
        change = changed - images
        length = _length(change)
        change = change * (self.eps / length.clamp_min(1e-12)).clamp_max(1)
        return (images + change).clamp(0, 1)  # the box only shortens a change of an image that is inside

    def direction(self, gradient: Tensor) -> Tensor:
        """The steepest ascent of length 1 in the norm; none where the gradient is zero or not finite."""
        gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        if self.norm is AttackNorm.linf:
            return gradient.sign()
        largest = gradient.abs().amax(PIXELS, keepdim=True).clamp_min(1e-30)
        scaled = gradient / largest  # so that tiny gradients keep their direction
        return scaled / _length(scaled).clamp_min(1e-12)

    def excess(self, changed: Tensor, images: Tensor) -> Tensor:
        """How far the farthest image is beyond the budget or the box, 0-dim; rounding aside not above 0."""
        change = changed - images
        length = change.abs().amax() if self.norm is AttackNorm.linf else _length(change).amax()
        return torch.stack([length - self.eps, -changed.amin(), changed.amax() - 1]).amax()


def random_within(images: Tensor, budget: Budget, uniforms: Tensor, normals: Tensor) -> Tensor:
    """Images drawn uniformly within the budget, then kept in [0, 1].

    `uniforms` and `normals` are shaped like the images. l2: in the direction of the normals, at the radius eps u^(1/d) for the
    first uniform u of each image and d numbers an image.
    """
    if budget.norm is AttackNorm.linf:
        return budget.project(images + budget.eps * (2 * uniforms - 1), images)
    size = images.shape[-3] * images.shape[-2] * images.shape[-1]
    radius = budget.eps * uniforms[..., :1, :1, :1] ** (1 / size)
    return budget.project(images + radius * budget.direction(normals), images)


def maximise(
    losses: Losses,
    images: Tensor,
    budget: Budget,
    *,
    step: float,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    r"""Projected gradient ascent (Madry et al., ICLR 2018):

    .. math:: x_{k+1} = \Pi(x_k + \alpha\, d(\nabla_x \ell(x_k))), \quad x_0 = \text{start}

    where d is the steepest ascent in the budget's norm. Returns the last iterate, detached. The gradient is that of the sum of `losses`, so images do not see each
    other. ValueError for images outside [0, 1].
    """
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("images outside [0, 1] cannot be attacked: a budget is in units of pixels")
    changed = images if start is None else start
    for _ in range(steps):
        changed = changed.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(changed).sum(), changed)
        with torch.no_grad():
            changed = budget.project(changed + step * budget.direction(gradient), images)
    return changed.detach()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each image (...), from logits (..., K) and labels (...)."""
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return losses.view(labels.shape)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit less the label's own (...): above 0 where the image is broken."""
    own = logits.gather(-1, labels[..., None])
    others = logits.scatter(-1, labels[..., None], -torch.inf).amax(-1)
    return others - own[..., 0]


def _length(change: Tensor) -> Tensor:
    """Euclidean length of each image, kept as (..., 1, 1, 1)."""
    return change.square().sum(PIXELS, keepdim=True).sqrt()
