"""IGDS: Information-Guided Diffusion Sampling, Ye et al., NeurIPS 2025 workshop, arXiv 2507.04619.

A distilled set should carry prototype information I(X; Y) and, the more images per class it has, contextual
information H(X | Y): the reverse process of a pretrained diffusion model is guided to raise I(X; Y) + beta
H(X | Y).

The paper's: that objective, beta's dependence on IPC, its use while sampling, bounds learned from data. No
code is public and only the abstract could be read, so the concrete form is ours: log q(y|x) for the first
term (classifier guidance; Barber and Agakov), the conditional mutual information I(X; Yh|Y) of a classifier's
predictions for the second (a lower bound of H(X|Y) by data processing; the same authors' quantity, ICLR
2024), the classifier trained as there, beta(n) = log n / log 50, the gradient taken at x0h, and every number
below.

`guidance_scale=0` is `method=diffusion` bit for bit, `beta=0` is classifier guidance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from distill_bench import generative, information
from distill_bench.context import Context
from distill_bench.contract import MethodInfo
from distill_bench.errors import UserError, require
from distill_bench.groups import GeneratorConfig, IpcConfig, TeacherConfig
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.generative import InformationGuidance, Prior
    from distill_bench.information import Estimator
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Centroid", "Config", "EstimatorKind", "Gradient", "beta_at", "run"]


class Centroid(Enum):
    """The distribution from which a class's predictions are to differ."""

    synthetic = "synthetic"  # that of the set being made: the term is the set's own CMI
    real = "real"  # that of real images: an upper bound of it, which can be raised at the cost of labels
    mixture = "mixture"  # the mean of both


class EstimatorKind(Enum):
    """The classifier q(y | x) whose predictions stand for information."""

    trained = "trained"  # trained here, on noisy images of the training split, towards information too
    teacher = "teacher"  # the classifier of teacher=; for priors of pixels


class Gradient(Enum):
    """How the reward's gradient reaches x_t."""

    shrunk = "shrunk"  # stopped at x0h; the denoiser's Jacobian as for an isotropic Gaussian prior
    naive = "naive"  # stopped at x0h, over sqrt(ab): overshoots at high noise
    exact = "exact"  # through the denoiser


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters; all values are our choice but those that are named."""

    name: str = "igds"
    guidance_scale: float = 2.0  # s, >= 0; 0: plain sampling. 5 for latents of a DiT
    beta: Any = "log"  # weight of the context: a number, a table {ipc: beta}, or log: beta0 log n / log 50
    beta0: float = 1.0  # beta at 50 images per class
    likelihood: float = 1.0  # weight of log q(y|x), >= 0; 0: context alone
    centroid: Centroid = Centroid.synthetic  # synthetic | real | mixture
    allow_unsafe_beta: bool = False  # with a real centroid: also values that reward wrong labels
    gradient: Gradient = Gradient.shrunk  # shrunk | naive | exact (three times the cost)
    trust: float = 0.2  # rho, a correction's largest length over that of eps; 0: no bound
    window: list[float] = field(default_factory=lambda: [0.0, 1.0])
    """Shares of the reverse process between which guidance acts; for latents 0.1, 0.7."""
    temperature: float = 1.0  # of q, > 0; 1 with centroids of real images
    reject: int = 0  # times that an image which q takes for another class is drawn anew, at most
    estimator: EstimatorKind = EstimatorKind.trained  # trained | teacher
    estimator_steps: int = 6000  # SGD steps of the classifier, 64 images each
    estimator_width: int = 64  # channels of its ConvNet
    information_weight: float = 0.15  # lambda of its information term; typical of the ICLR 2024 scripts

    def __post_init__(self) -> None:
        for key in ("guidance_scale", "beta0", "likelihood", "trust", "information_weight"):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")
        require(self.temperature > 0, "method.temperature", self.temperature, "> 0")
        plain = self.centroid is Centroid.synthetic or self.temperature == 1
        condition = f"1 with method.centroid={self.centroid.name}"
        reason = f"{condition}: centroids of real images are of plain predictions"
        require(plain, "method.temperature", self.temperature, reason)
        require(self.reject >= 0, "method.reject", self.reject, ">= 0")
        require(self.estimator_steps >= 1, "method.estimator_steps", self.estimator_steps, ">= 1")
        fits = self.estimator_width >= 4 and self.estimator_width % 4 == 0
        require(fits, "method.estimator_width", self.estimator_width, "a multiple of 4")
        fits = len(self.window) == 2 and 0 <= self.window[0] <= self.window[1] <= 1
        require(fits, "method.window", self.window, "two shares [first, last] in [0, 1], in order")
        beta_at(self, 1)


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Information-Guided Diffusion Sampling for Dataset Distillation, NeurIPS 2025 workshop, "
    "arXiv 2507.04619",
    summary="diffusion samples guided towards prototype and contextual information",
    uses=("dataset", "ipc", "generator"),
    uses_when={"teacher": lambda cfg: cfg.guidance_scale > 0 and cfg.estimator is EstimatorKind.teacher},
)


def beta_at(cfg: Config, images_per_class: int) -> float:
    """The weight of the context at this IPC; UserError for a form that is none of the three, or a negative
    value."""
    allowed = "a number >= 0, a table {ipc: beta}, or log"
    value = cfg.beta
    if value == "log":
        return cfg.beta0 * math.log(images_per_class) / math.log(50)
    try:
        if isinstance(value, dict):
            table = {int(size): float(weight) for size, weight in value.items()}
            require(bool(table) and min(table.values()) >= 0, "method.beta", value, allowed)
            return table.get(
                images_per_class, table[min(table, key=lambda size: abs(size - images_per_class))]
            )
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"method.beta={value}: allowed: {allowed}") from None
    require(number >= 0, "method.beta", value, allowed)
    return number


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Sample the prior with the guided score, the images of a class (up to 64) in lock-step: they see one
    another.

    .. math:: e \leftarrow e - \sqrt{1 - ab_t}\, s\, \nabla [\log q(y|x) + \beta KL(q \| Q_y)](\hat x_0)
    """
    data, config, per_class = ctx.dataset, ctx.group(GeneratorConfig), ctx.group(IpcConfig).images_per_class
    prior = generative.load_prior(ctx, data, config)
    if not cfg.guidance_scale:
        return generative.draw_set(ctx, data, prior, config, per_class)
    estimator = _estimator(ctx, cfg, prior)
    hook = _guidance(ctx, cfg, prior, estimator)
    drawn = generative.draw_set(ctx, data, prior, config, per_class, hook)
    if cfg.reject:
        drawn, wrong = generative.redraw_wrong(ctx, data, prior, config, hook, drawn, cfg.reject)
        counts = ", ".join(map(str, wrong))
        ctx.say(f"igds: of {len(drawn)} images these many were taken for another class: {counts}")
    if int(hook.skipped):
        ctx.say(f"igds: {int(hook.skipped)} gradients were not finite and left out")
    return replace(drawn, measures=_measures(ctx, prior, estimator, drawn))


def _estimator(ctx: Context, cfg: Config, prior: Prior) -> Estimator:
    """q(y | x), on what the prior diffuses: pixels, or latents (which saves the way back through the
    decoder)."""
    if cfg.estimator is EstimatorKind.teacher:
        teachers = ctx.products(TeacherConfig)
        require(len(teachers) == 1, "teacher.count", len(teachers), "1 for method.estimator=teacher")
        wanted = "trained for a generator that diffuses latents: a teacher sees pixels"
        require(not prior.latent, "method.estimator", cfg.estimator.name, wanted)
        return information.given_estimator(ctx.dataset, teachers[0])
    training = information.EstimatorTraining(
        steps=cfg.estimator_steps, width=cfg.estimator_width, weight=cfg.information_weight
    )
    parts = generative.prior_parts(ctx.dataset, ctx.group(GeneratorConfig)) if prior.latent else None
    space = {"latent": parts}
    return information.train_estimator(ctx, ctx.dataset, training, prior.shape, prior.from_pixels, space)


def _guidance(ctx: Context, cfg: Config, prior: Prior, estimator: Estimator) -> InformationGuidance:
    beta = beta_at(cfg, ctx.group(IpcConfig).images_per_class)
    if cfg.centroid is Centroid.real and beta and not cfg.allow_unsafe_beta:
        beta = _safe(ctx, cfg, beta, estimator.centroids)
    form = generative.GuidanceForm(
        scale=cfg.guidance_scale,
        beta=beta,
        likelihood=cfg.likelihood,
        centroid=cfg.centroid.value,
        gradient=cfg.gradient.value,
        trust=cfg.trust,
        window=(cfg.window[0], cfg.window[1]),
        temperature=cfg.temperature,
    )
    variance = generative.within_class_variance(ctx, ctx.dataset, prior, ctx.group(GeneratorConfig))
    return generative.InformationGuidance(form, estimator.net, prior, estimator.centroids, variance)


def _safe(ctx: Context, cfg: Config, beta: float, centroids: torch.Tensor) -> float:
    """`beta` if no class's real centroid makes it reward a wrong label; else an error, or the bound for the
    formula."""
    clamped = centroids.clamp_min(1e-2 / len(centroids))
    clamped = clamped / clamped.sum(1, keepdim=True)
    bound = min(information.safe_beta(row, label) for label, row in enumerate(clamped))
    if beta <= bound:
        return beta
    if cfg.beta == "log":
        ctx.say(f"igds: beta {beta:.3g} is lowered to {bound:.3g}, its bound with real centroids")
        return bound
    reason = f"at most {bound:.3g} with method.centroid=real, beyond which a wrong label scores best"
    raise UserError(f"method.beta={beta:g}: {reason}; or method.allow_unsafe_beta=true")


def _measures(ctx: Context, prior: Prior, estimator: Estimator, drawn: SyntheticSet) -> tuple[Measure, ...]:
    """What the guiding classifier itself says of the set; an independent one is asked by `protocol.audit`."""
    num_classes = ctx.dataset.num_classes
    images = prior.from_pixels(drawn.pixels() * 2 - 1)
    values = information.measure(estimator.net, images, drawn.labels, num_classes)
    values["prototype_information"] = math.log(num_classes) + values["log_likelihood"]
    return tuple(
        Measure(name=name, values=[value], facets={"by": "estimator"}) for name, value in values.items()
    )
