r"""Guiding a diffusion model by the information in a classifier's predictions (IGDS), or by the classifier
alone.

Each step climbs the reward, summed over samples i of classes c,

.. math:: r = \sum_i u_i\, a \log q_i(c_i) + v_i\, \beta\, KL(P_i \| sg[Q_{c_i}])

with q the classifier's word on the label, and P on the label too, or on the symbol of a channel. The first
term bounds the prototype information I(X; Y) from below, the second is the sample's part of the conditional
mutual information I(X; V | Y) of the class, V being that label or symbol. Detaching the centroid Q_c of the
set itself is exact (envelope theorem).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from distill_bench.generative.load import prior_parts
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import Shift, Step, from_bytes, reverse, to_bytes
from distill_bench.information import Predict, centroids, divergence
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
    "Normalisation",
    "gradient_factor",
    "redraw_wrong",
    "within_class_variance",
]

BOX = 1.2  # the classifier's pixels are clipped to [-1.2, 1.2], so that gradients survive at the border

CentroidSource = Literal["synthetic", "real", "mixture"]
"""Whose predictions a class's are to differ from: those of the set being made, of real images, or both."""
GradientPath = Literal["shrunk", "naive", "exact"]
"""How the reward's gradient reaches x_t: see `gradient_factor`."""
Normalisation = Literal["sum", "mean", "authors"]
"""The weights u of the prototype and v of the context, of a class of n images and S symbols (or labels): sum
1 and 1; mean 1/n and 1/n; authors 1/n and 1/S, which makes context n/S times as heavy, as released."""


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
    symbols: bool = False  # the context is that of a channel's symbols, not of labels
    symbol_temperature: float = 0.1
    at_noise: bool = False  # the reward is that of x_t, in place of x0h: the networks have seen noise
    normalisation: Normalisation = "sum"
    per_class: int = 1  # n, the images of a class in the set
    raw: bool = False  # s grad r is added to the next x, in place of the score


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
        self, form: GuidanceForm, predict: Predict, prior: Prior, real_KS: Tensor, variance: float
    ) -> None:
        """`predict` reads what the prior diffuses; `real_KS` are centroids of real data; `variance` is that
        of the training data within classes, per element."""
        self.form, self.predict, self.prior, self.variance = form, predict, prior, variance
        self.through_denoiser = form.gradient == "exact" and not form.at_noise
        self.real_KS = real_KS
        self.sums_KS = torch.zeros_like(real_KS)
        self.counts_K = torch.zeros(len(real_KS), device=real_KS.device)
        self.skipped = torch.zeros((), device=real_KS.device)  # gradients that were not finite

    def __call__(self, step: Step) -> Tensor | Shift | None:
        """The corrected x0h, of eps - sqrt(1 - ab) s g within the trust region; or the shift s g of the next
        x."""
        first, last = self.form.window
        if not self.form.scale or not first <= step.index / step.count < last:
            return None
        gradient, ab = self._gradient(step), step.alpha_bar
        path = "exact" if self.form.at_noise else self.form.gradient
        factor = gradient_factor(path, ab, self.variance)
        with torch.no_grad():
            if self.form.raw:
                return Shift(self._finite(self.form.scale * factor * gradient))
            delta = -((1 - ab) ** 0.5) * self.form.scale * factor * gradient
            delta = self._trusted(self._finite(delta), step.eps)
            return step.x0h - ((1 - ab) / ab) ** 0.5 * delta

    def reward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The sum over samples of both terms; scalar, differentiable in x (B, C, H, W)."""
        form = self.form
        log_q, log_p = self._read(x)
        of_label, of_context = self._weights(log_p.shape[1])
        reward = form.likelihood * of_label * log_q.gather(1, labels[:, None]).sum()
        if not form.beta:
            return reward
        centroid, counted = self._centroid(log_p.detach(), labels)
        context = divergence(log_p, centroid[labels], floor=1e-2 / log_p.shape[1])
        return reward + form.beta * of_context * (context * counted[labels]).sum()

    @torch.no_grad()
    def finished(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
        """Remember the predictions for final images, in [-1, 1]: their sums are all that the centroids
        need."""
        p = self._read(self.prior.from_pixels(images_BCHW))[1].exp()
        self.sums_KS.index_add_(0, labels_B, p)
        self.counts_K.index_add_(0, labels_B, torch.ones_like(p[:, 0]))

    @torch.no_grad()
    def takes_for_another(self, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """Which final images, in [-1, 1], the classifier gives another label: bool (B,)."""
        parts = [self._read(self.prior.from_pixels(batch))[0].argmax(1) for batch in images_BCHW.split(250)]
        return torch.cat(parts) != labels_B

    def forget(self) -> None:
        """Lose the memory of finished images."""
        self.sums_KS.zero_()
        self.counts_K.zero_()

    def _gradient(self, step: Step) -> Tensor:
        """The reward's gradient with respect to x0h; or to x_t, through the denoiser or at x_t."""
        if self.through_denoiser:
            return torch.autograd.grad(self.reward(step.x0h, step.labels), step.x_t)[0]
        point = (step.x_t if self.form.at_noise else step.x0h).detach().requires_grad_()
        return torch.autograd.grad(self.reward(point, step.labels), point)[0]

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log q (B, K) and log P (B, S), the latter for the context: one pass for both."""
        form = self.form
        inputs = x if self.prior.latent or form.at_noise else x.clamp(-BOX, BOX)
        logits = self.predict(inputs)
        log_q = (logits.labels.float() / form.temperature).log_softmax(1)
        if not form.symbols:
            return log_q, log_q
        assert logits.symbols is not None
        return log_q, (logits.symbols.float() / form.symbol_temperature).log_softmax(1)

    def _weights(self, outcomes: int) -> tuple[float, float]:
        """(u, v) of the two terms: see `Normalisation`."""
        if self.form.normalisation == "sum":
            return 1.0, 1.0
        each = 1 / self.form.per_class
        return each, each if self.form.normalisation == "mean" else 1 / outcomes

    def _centroid(self, log_p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Centroids (K, S), and 1 for each class whose term counts: one image alone has no context in its own
        set.

        The set's own are of the images at hand and of those that are finished; at x_t of the former alone, as
        predictions of noise and of images do not mix.
        """
        source, classes = self.form.centroid, len(self.real_KS)
        if source == "real":
            return self.real_KS, torch.ones_like(self.counts_K)
        here = torch.bincount(labels, minlength=classes)
        memory = 0 if self.form.at_noise else 1
        counts = memory * self.counts_K + here
        total = memory * self.sums_KS + centroids(log_p, labels, classes) * here[:, None]
        synthetic = total / counts.clamp_min(1)[:, None]
        if source == "mixture":
            return (synthetic + self.real_KS) / 2, torch.ones_like(self.counts_K)
        return synthetic, (counts > 1).to(log_p.dtype)

    def _finite(self, delta: Tensor) -> Tensor:
        """Without the samples' corrections that are not finite, which are counted."""
        finite = torch.isfinite(delta).flatten(1).all(1)
        self.skipped += (~finite).sum()
        return torch.where(finite.view(-1, 1, 1, 1), delta, torch.zeros_like(delta))

    def _trusted(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Per sample at most rho times as long as eps."""
        if not self.form.trust:
            return delta
        longest = self.form.trust * eps.detach().flatten(1).norm(dim=1)
        length = delta.flatten(1).norm(dim=1)
        return delta * (longest / length.clamp_min(1e-12)).clamp_max(1.0).view(-1, 1, 1, 1)
