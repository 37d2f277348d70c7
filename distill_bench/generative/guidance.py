"""Guiding a diffusion model by the information in a classifier's predictions (IGDS), or by the classifier
alone.

The score of p_t gains s grad r(x0h), with the reward of sample i of class c

    r = a log q_i(c) + beta KL(q_i || sg[Q_c]),    q_i = softmax of the classifier's logits at x0h.

The first term bounds the prototype information I(X; Y) from below, the second is the sample's part of the
conditional mutual information I(X; Yh | Y) of the class. Detaching the centroid Q_c of the set itself is
exact (envelope theorem).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from distill_bench.generative.load import prior_parts
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import Step, from_bytes, reverse, to_bytes
from distill_bench.information import centroids, divergence
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import GeneratorConfig
    from distill_bench.products import SyntheticSet
    from distill_bench.running import Run

__all__ = [
    "BOX",
    "CentroidSource",
    "GradientPath",
    "GuidanceForm",
    "InformationGuidance",
    "gradient_factor",
    "redraw_wrong",
    "within_class_variance",
]

BOX = 1.2  # the classifier's pixels are clipped to [-1.2, 1.2], so that gradients survive at the border

CentroidSource = Literal["synthetic", "real", "mixture"]
"""Whose predictions a class's are to differ from: those of the set being made, of real images, or both."""
GradientPath = Literal["shrunk", "naive", "exact"]
"""How the reward's gradient reaches x_t: see `gradient_factor`."""


@dataclass(frozen=True, kw_only=True)
class GuidanceForm:
    """The strength and the form of guidance."""

    scale: float  # s
    beta: float  # weight of the contextual term
    likelihood: float = 1.0  # weight a of the prototype term
    centroid: CentroidSource = "synthetic"
    gradient: GradientPath = "shrunk"
    trust: float = 0.2  # rho: the correction of eps is at most rho |eps|; 0: no bound
    window: tuple[float, float] = (0.0, 1.0)  # shares of the reverse process between which it acts
    temperature: float = 1.0


def gradient_factor(path: GradientPath, alpha_bar: float, variance: float) -> float:
    r"""What the gradient with respect to x0h is multiplied by.

    shrunk: :math:`\kappa_t = \sqrt{ab}\, v / (ab\, v + 1 - ab)`, exact for a Gaussian prior of variance v per
    element; naive: :math:`1 / \sqrt{ab}`; exact: 1, since the gradient is already that with respect to x_t.
    """
    if path == "shrunk":
        return alpha_bar**0.5 * variance / (alpha_bar * variance + 1 - alpha_bar)
    return alpha_bar**-0.5 if path == "naive" else 1.0


def within_class_variance(
    run: Run, data: ImageDataset, prior: Prior, config: GeneratorConfig, per_class: int = 50
) -> float:
    """Mean variance per element, within classes, of training images in the space of `prior`, which is that of
    `config`; about 0.17 for the digits.

    Measured once for all runs, and cached.
    """
    train, count = data.train, min(per_class, data.train.smallest_class)

    def make() -> dict[str, float]:
        indices_KN = train.sample_per_class(count, generator(0, "variance", device=run.device))
        of_classes = [
            prior.from_pixels(train.unit(indices) * 2 - 1).var(dim=0, correction=0).mean()
            for indices in indices_KN
        ]
        return {"variance": float(torch.stack(of_classes).mean())}

    space = prior_parts(data, config) if prior.latent else None
    parts = {"data": data.pixel_fingerprint, "space": space, "per_class": count}
    return float(run.cache.get("within_class_variance", parts, make)["variance"])


def redraw_wrong(
    run: Run,
    data: ImageDataset,
    prior: Prior,
    config: GeneratorConfig,
    hook: InformationGuidance,
    drawn: SyntheticSet,
    times: int,
) -> tuple[SyntheticSet, list[int]]:
    """The set `drawn`, in which images that the guiding classifier takes for another class are drawn anew, at
    most `times` times.

    Class by class: the new images see one another and those that stay. Also how many images were wrong before
    each attempt.
    """
    per_class, wrong_counts = len(drawn) // data.num_classes, list[int]()
    pixels, labels = drawn.images.clone(), drawn.labels
    images = from_bytes(pixels)
    for attempt in range(times):
        wrong = hook.takes_for_another(images, labels)
        wrong_counts.append(int(wrong.sum()))
        if not wrong_counts[-1]:
            break
        hook.forget()
        hook.finished(images[~wrong], labels[~wrong])
        for label in labels[wrong].unique().tolist():
            rows = (wrong & (labels == label)).nonzero().flatten()
            draws = [run.generator("redraw", attempt, row, device="cpu") for row in rows.tolist()]
            x0 = reverse(prior, labels[rows], rows % per_class, draws, config, hook)
            pixels[rows] = to_bytes(prior, x0, data.resolution, labels[rows])
            images[rows] = from_bytes(pixels[rows])
    return replace(drawn, images=pixels), wrong_counts


class InformationGuidance:
    """The hook: corrects eps at each step inside the window; remembers the predictions of finished images."""

    def __init__(
        self,
        form: GuidanceForm,
        logits: Callable[[Tensor], Tensor],
        prior: Prior,
        real_KK: Tensor,
        variance: float,
    ) -> None:
        """`logits` classifies what the prior diffuses; `real_KK` are real-data centroids; `variance` is that
        of the training data within classes, per element."""
        self.form, self.logits, self.prior, self.variance = form, logits, prior, variance
        self.through_denoiser = form.gradient == "exact"
        self.real_KK = real_KK
        self.sums_KK = torch.zeros_like(real_KK)
        self.counts_K = torch.zeros(len(real_KK), device=real_KK.device)
        self.skipped = torch.zeros((), device=real_KK.device)  # gradients that were not finite

    def __call__(self, step: Step) -> Tensor | None:
        """The corrected x0h: eps - sqrt(1 - ab) s g, within the trust region."""
        first, last = self.form.window
        if not self.form.scale or not first <= step.index / step.count < last:
            return None
        x0h = step.x0h if self.through_denoiser else step.x0h.detach().requires_grad_()
        reward = self.reward(x0h, step.labels)
        (gradient,) = torch.autograd.grad(reward, step.x_t if self.through_denoiser else x0h)
        with torch.no_grad():
            ab = step.alpha_bar
            factor = gradient_factor(self.form.gradient, ab, self.variance)
            delta = -((1 - ab) ** 0.5) * self.form.scale * factor * gradient
            delta = self._trusted(delta, step.eps)
            return step.x0h - ((1 - ab) / ab) ** 0.5 * delta

    def reward(self, x0h: Tensor, labels: Tensor) -> Tensor:
        """Sum over samples of a log q(y) + beta KL(q || Q_y); scalar, differentiable in x0h (B, C, H, W)."""
        log_q = self._log_q(x0h)
        reward = self.form.likelihood * log_q.gather(1, labels[:, None]).sum()
        if not self.form.beta:
            return reward
        centroid, counted = self._centroid(log_q.detach(), labels)
        context = divergence(log_q, centroid[labels], floor=1e-2 / log_q.shape[1])
        return reward + self.form.beta * (context * counted[labels]).sum()

    @torch.no_grad()
    def finished(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
        """Remember the predictions for final images, in [-1, 1]: their sums are all that the centroids
        need."""
        q = self._log_q(self.prior.from_pixels(images_BCHW)).exp()
        self.sums_KK.index_add_(0, labels_B, q)
        self.counts_K.index_add_(0, labels_B, torch.ones_like(q[:, 0]))

    @torch.no_grad()
    def takes_for_another(self, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """Which final images, in [-1, 1], the classifier gives another label: bool (B,)."""
        parts = [self._log_q(self.prior.from_pixels(batch)).argmax(1) for batch in images_BCHW.split(250)]
        return torch.cat(parts) != labels_B

    def forget(self) -> None:
        """Lose the memory of finished images."""
        self.sums_KK.zero_()
        self.counts_K.zero_()

    def _log_q(self, x: Tensor) -> Tensor:
        inputs = x if self.prior.latent else x.clamp(-BOX, BOX)
        return (self.logits(inputs).float() / self.form.temperature).log_softmax(1)

    def _centroid(self, log_q: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Centroids (K, K), and 1 for each class whose term counts: one image alone has no context in its own
        set."""
        source, classes = self.form.centroid, len(self.real_KK)
        if source == "real":
            return self.real_KK, torch.ones_like(self.counts_K)
        here = torch.bincount(labels, minlength=classes)
        counts = self.counts_K + here
        total = self.sums_KK + centroids(log_q, labels) * here[:, None]
        synthetic = total / counts.clamp_min(1)[:, None]
        if source == "mixture":
            return (synthetic + self.real_KK) / 2, torch.ones_like(self.counts_K)
        return synthetic, (counts > 1).to(log_q.dtype)

    def _trusted(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Finite, and per sample at most rho times as long as eps."""
        finite = torch.isfinite(delta).flatten(1).all(1)
        self.skipped += (~finite).sum()
        delta = torch.where(finite.view(-1, 1, 1, 1), delta, torch.zeros_like(delta))
        if not self.form.trust:
            return delta
        longest = self.form.trust * eps.detach().flatten(1).norm(dim=1)
        length = delta.flatten(1).norm(dim=1)
        return delta * (longest / length.clamp_min(1e-12)).clamp_max(1.0).view(-1, 1, 1, 1)
