"""IGDS: Information-Guided Diffusion Sampling, Ye et al., NeurIPS 2025 workshop, arXiv 2507.04619.

A distilled set should carry prototype information I(X; Y) and, the more images per class it has, contextual
information H(X | Y): the reverse process of a pretrained diffusion model is guided to raise I(X; Y) + beta
H(X | Y), with bounds of both that are learned from data.

The paper's: that objective, beta's dependence on IPC (the abstract; its text is unread). The first author's
two public repositories hold an early sampler of pixels that cannot run as released, and the evaluation of a
later one of latents without its sampler. Three forms:

* the default is ours: log q(y|x) for the first term (classifier guidance; Barber and Agakov), the conditional
  mutual information I(X; Yh|Y) of a classifier's predictions for the second (a lower bound by data
  processing; the same authors' quantity, ICLR 2024), the classifier trained as there, the gradient taken at
  x0h, beta(n) = log n / log 50;
* `preset=igds/authors_pixel` is the sampler of pixels, mended where it could not run: a channel of 128
  symbols and its head (distill_bench/information/channel.py), the gradient at x_t, added to the next x as it
  is, each term normalised as released. Its scale is not set anywhere: 3 is the reading of the digits;
* `preset=igds/authors_dit` is the same reward on the latents of a DiT, in units of the score, with the beta
  of the authors' folders; where its gradient enters is not established. `protocol=igds_patches` measures it.

Faults of the released code that are not copied: a scale whose sign lowers the information; a head trained on
clean images and asked about noise (`head_noisy`); a channel trained in other coordinates than it is asked in
(`channel_space`). A departure besides: x0h is clipped at every step, as everywhere here.

Why ours stays the default: it has a sign and bounds that are tested, and needs no unconditional prior. Its
context cannot exceed log K, that of `context=symbols` log S; measured at 50 images a class, neither is better
(results/README.md), so the form without a second network stays.

`guidance_scale=0` is `method=diffusion` bit for bit, `beta=0` is classifier guidance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from distill_bench import generative, information
from distill_bench.context import Context
from distill_bench.contract import MethodInfo
from distill_bench.errors import UserError, require
from distill_bench.groups import GeneratorConfig, IpcConfig, TeacherConfig, plain
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.generative import InformationGuidance, Prior
    from distill_bench.information import Channel, Estimator, Predict, Space
    from distill_bench.products import SyntheticSet

__all__ = ["INFO", "Centroid", "Config", "EstimatorKind", "Gradient", "Point", "StepKind", "beta_at", "run"]


class Centroid(Enum):
    """The distribution from which a class's predictions are to differ."""

    synthetic = "synthetic"  # that of the set being made: the term is the set's own CMI
    real = "real"  # that of real images: an upper bound of it, which can be raised at the cost of labels
    mixture = "mixture"  # the mean of both


class EstimatorKind(Enum):
    """The classifier q(y | x) whose predictions stand for information."""

    trained = "trained"  # trained here, on noisy images of the training split, towards information too
    teacher = "teacher"  # the classifier of teacher=; for priors of pixels
    channel = "channel"  # the head on the channel of the authors' code


class Variability(Enum):
    """What the contextual term is the information of."""

    labels = "labels"  # the classifier's own predictions: at most log K
    symbols = "symbols"  # the symbols of a channel: at most log S


class Point(Enum):
    """What the reward is a function of."""

    x0h = "x0h"  # the denoiser's estimate of the image
    x_t = "x_t"  # the noisy image itself; for a channel, which has seen noise


class Normalisation(Enum):
    """How the two terms are weighed, of n images a class and S symbols or labels."""

    sum = "sum"  # both by 1
    mean = "mean"  # both by 1/n
    authors = "authors"  # the prototype by 1/n, the context by 1/S


class StepKind(Enum):
    """What guidance changes."""

    score = "score"  # eps
    raw = "raw"  # the next x, by s times the gradient as it is


class Divergence(Enum):
    """The channel's information term, with Q the mean of an instance's predictions P_i."""

    lautum = "lautum"  # mean KL(Q || P_i), as released
    mutual = "mutual"  # mean KL(P_i || Q)


class ChannelSpace(Enum):
    """The noisy images that the channel learns from."""

    prior = "prior"  # the prior's own x_t
    authors = "authors"  # normalised pixels with uniform shares of noise, as released


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
    beta: Any = "log"  # weight of the context: a number, a table {ipc: beta}, or log: beta0 log n / log 50;
    # below 0 the images of a class are pulled to one another
    beta0: float = 1.0  # beta at 50 images per class
    likelihood: float = 1.0  # weight of log q(y|x), >= 0; 0: context alone
    centroid: Centroid = Centroid.synthetic  # synthetic | real | mixture
    allow_unsafe_beta: bool = False  # with a real centroid: also values that reward wrong labels
    gradient: Gradient = Gradient.shrunk  # shrunk | naive | exact (three times the cost)
    trust: float = 0.2  # rho, a correction's largest length over that of eps; 0: no bound
    window: list[float] = field(default_factory=lambda: [0.0, 1.0])
    """Shares of the reverse process between which guidance acts; for latents 0.1, 0.7."""
    temperature: float = 1.0  # of q, > 0; 1 with centroids of real images
    context: Variability = Variability.labels  # labels | symbols (of the channel)
    symbol_temperature: float = 0.1  # tau of the symbols
    point: Point = Point.x0h  # x0h | x_t (with estimator=channel)
    normalisation: Normalisation = Normalisation.sum  # sum | mean | authors
    step: StepKind = StepKind.score  # score | raw
    reject: int = 0  # times that an image which q takes for another class is drawn anew, at most
    estimator: EstimatorKind = EstimatorKind.trained  # trained | teacher | channel: who says q(y | x)
    estimator_steps: int = 6000  # SGD steps of the classifier, 64 images each
    estimator_width: int = 64  # channels of its ConvNet
    information_weight: float = 0.15  # lambda of its information term; typical of the ICLR 2024 scripts
    symbols: int = 128  # S of the channel, released
    channel_steps: int = 6000  # SGD steps on the channel (released: 400 epochs of batches of 256)
    channel_batch: int = 256  # instances a step
    channel_width: int = 128  # channels of its ConvNet
    channel_lr: float = 0.01  # peak rate, warmed up, then along a cosine to 0
    channel_space: ChannelSpace = ChannelSpace.prior  # prior | authors
    views: int = 8  # of an instance
    queue: int = 4096  # M keys, at most a quarter of the training images
    momentum: float = 0.999  # of the slow copy that makes keys
    contrast_temperature: float = 0.1  # T of InfoNCE, as the folders of the DiT stage read
    term_temperature: float = 0.1  # T2 of the channel's information term, likewise
    term_weight: float = 0.05  # F of that term, likewise; 0: InfoNCE alone
    divergence: Divergence = Divergence.lautum  # lautum | mutual
    head_steps: int = 3000  # SGD steps on the head, 32 images each
    head_noisy: bool = (
        True  # it learns from noisy images, as it is asked; false: from clean ones, as released
    )
    head_temperature: float = 0.1  # of its cross-entropy; released: 1

    def __post_init__(self) -> None:
        for key in ("guidance_scale", "beta0", "likelihood", "trust", "information_weight", "term_weight"):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")
        temperatures = [item.name for item in fields(self) if item.name.endswith("temperature")]
        for key in ("channel_lr", *temperatures):
            require(getattr(self, key) > 0, f"method.{key}", getattr(self, key), "> 0")
        for key in ("estimator_steps", "channel_steps", "head_steps", "channel_batch", "views", "queue"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")
        require(self.symbols >= 2, "method.symbols", self.symbols, ">= 2")
        require(0 <= self.momentum <= 1, "method.momentum", self.momentum, "in [0, 1]")
        require(self.reject >= 0, "method.reject", self.reject, ">= 0")
        for key in ("estimator_width", "channel_width"):
            width = getattr(self, key)
            require(width >= 4 and width % 4 == 0, f"method.{key}", width, "a multiple of 4")
        fits = len(self.window) == 2 and 0 <= self.window[0] <= self.window[1] <= 1
        require(fits, "method.window", self.window, "two shares [first, last] in [0, 1], in order")
        self._check_together()
        beta_at(self, 1)

    def _check_together(self) -> None:
        """UserError for options that do not go together."""
        own = self.centroid is Centroid.synthetic
        condition = f"1 with method.centroid={self.centroid.name}"
        reason = f"{condition}: centroids of real images are of plain predictions"
        fits = own or self.temperature == 1 or self.context is Variability.symbols
        require(fits, "method.temperature", self.temperature, reason)
        if self.point is Point.x_t:
            noisy = self.estimator is EstimatorKind.channel
            reason = "x0h, or method.estimator=channel: no other estimator has seen as much noise"
            require(noisy, "method.point", self.point.name, reason)
            reason = "synthetic with method.point=x_t: those of real images are without noise"
            require(own, "method.centroid", self.centroid.name, reason)
            plain = self.gradient is Gradient.shrunk
            reason = "left as it is with method.point=x_t, where the gradient is that of x_t already"
            require(plain, "method.gradient", self.gradient.name, reason)
        if self.step is StepKind.raw:
            require(self.trust == 0, "method.trust", self.trust, "0 with method.step=raw")

    def unused(self) -> frozenset[str]:
        """The fields of networks that are not asked."""
        names = [item.name for item in fields(self)]
        of_channel = names[names.index("symbols") :] if not self.needs_channel else []
        trained = self.estimator is EstimatorKind.trained
        of_trained = [] if trained else ["estimator_steps", "estimator_width", "information_weight"]
        labels = ["symbol_temperature"] if self.context is Variability.labels else []
        return frozenset([*of_channel, *of_trained, *labels])

    @property
    def needs_channel(self) -> bool:
        """Whether labels or context are read from the channel."""
        return self.context is Variability.symbols or self.estimator is EstimatorKind.channel


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Information-Guided Diffusion Sampling for Dataset Distillation, NeurIPS 2025 workshop, "
    "arXiv 2507.04619",
    summary="diffusion samples guided towards prototype and contextual information",
    uses=("dataset", "ipc", "generator"),
    uses_when={"teacher": lambda cfg: cfg.guidance_scale > 0 and cfg.estimator is EstimatorKind.teacher},
)


def beta_at(cfg: Config, images_per_class: int) -> float:
    """The weight of the context at this IPC; UserError for a form that is none of the three."""
    allowed = "a number, a table {ipc: beta}, or log"
    value = cfg.beta
    if value == "log":
        return cfg.beta0 * math.log(images_per_class) / math.log(50)
    try:
        if isinstance(value, dict):
            table = {int(size): float(weight) for size, weight in value.items()}
            require(bool(table), "method.beta", value, allowed)
            nearest = min(table, key=lambda size: abs(size - images_per_class))
            number = table.get(images_per_class, table[nearest])
        else:
            number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"method.beta={value}: allowed: {allowed}") from None
    require(math.isfinite(number), "method.beta", value, allowed)
    return number


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Sample the prior under guidance, the images of a class (up to 64) in lock-step: they see one another.

    .. math:: e \leftarrow e - \sqrt{1 - ab_t}\, s\, \nabla [\log q(y|x) + \beta KL(q \| Q_y)](\hat x_0)
    """
    data, config, per_class = ctx.dataset, ctx.group(GeneratorConfig), ctx.group(IpcConfig).drawn
    prior = generative.load_prior(ctx, data, config)
    if not cfg.guidance_scale:
        return generative.draw_set(ctx, data, prior, config, per_class)
    estimator, channel = _estimator(ctx, cfg, prior)
    hook = _guidance(ctx, cfg, prior, estimator, channel)
    drawn = generative.draw_set(ctx, data, prior, config, per_class, hook)
    if cfg.reject:
        drawn, wrong = generative.redraw_wrong(ctx, data, prior, config, hook, drawn, cfg.reject)
        counts = ", ".join(map(str, wrong))
        ctx.say(f"igds: of {len(drawn)} images these many were taken for another class: {counts}")
    if int(hook.skipped):
        ctx.say(f"igds: {int(hook.skipped)} gradients were not finite and left out")
    return replace(drawn, measures=_measures(ctx, prior, estimator, drawn))


def _estimator(ctx: Context, cfg: Config, prior: Prior) -> tuple[Estimator, Channel | None]:
    """q(y | x), on what the prior diffuses: pixels, or latents (which saves the way back through the
    decoder); and the channel, if it is needed."""
    channel = _channel(ctx, cfg, prior) if cfg.needs_channel else None
    if cfg.estimator is EstimatorKind.channel:
        assert channel is not None
        return information.Estimator(channel, torch.empty(0), {}), channel
    if cfg.estimator is EstimatorKind.teacher:
        teachers = ctx.products(TeacherConfig)
        require(len(teachers) == 1, "teacher.count", len(teachers), "1 for method.estimator=teacher")
        wanted = "trained for a generator that diffuses latents: a teacher sees pixels"
        require(not prior.latent, "method.estimator", cfg.estimator.name, wanted)
        return information.given_estimator(ctx.dataset, teachers[0]), channel
    training = information.EstimatorTraining(
        steps=cfg.estimator_steps, width=cfg.estimator_width, weight=cfg.information_weight
    )
    space = {"latent": _latent(ctx, prior)}
    made = information.train_estimator(ctx, ctx.dataset, training, prior.shape, prior.from_pixels, space)
    return made, channel


def _channel(ctx: Context, cfg: Config, prior: Prior) -> Channel:
    """f and its head, on the prior's x_t, or as released."""
    names = [field.name for field in fields(information.ChannelTraining)]
    training = information.ChannelTraining(**{name: plain(getattr(cfg, name)) for name in names})
    where = {"latent": _latent(ctx, prior), "space": cfg.channel_space.name}
    return information.train_channel(ctx, ctx.dataset, training, prior.shape, _space(ctx, cfg, prior), where)


def _space(ctx: Context, cfg: Config, prior: Prior) -> Space:
    if cfg.channel_space is ChannelSpace.authors:
        wanted = "prior for a generator that diffuses latents"
        require(not prior.latent, "method.channel_space", cfg.channel_space.name, wanted)
        return information.Space(ctx.dataset.transform.forward_unit, None)
    return information.Space(lambda pixels: prior.from_pixels(pixels * 2 - 1), prior.alpha_bars)


def _latent(ctx: Context, prior: Prior) -> dict[str, Any] | None:
    """What the prior's latents depend on; None for pixels."""
    return generative.prior_parts(ctx.dataset, ctx.group(GeneratorConfig)) if prior.latent else None


def _guidance(
    ctx: Context, cfg: Config, prior: Prior, estimator: Estimator, channel: Channel | None = None
) -> InformationGuidance:
    size, symbols = ctx.group(IpcConfig), cfg.context is Variability.symbols
    beta = beta_at(cfg, size.images_per_class)  # by canvases, where several images share one
    real = _real_centroids(ctx, cfg, prior, estimator, channel)
    if cfg.centroid is Centroid.real and beta > 0 and not symbols and not cfg.allow_unsafe_beta:
        beta = _safe(ctx, cfg, beta, real)
    if beta and size.drawn == 1 and cfg.centroid is Centroid.synthetic:
        ctx.say(f"igds: beta {beta:g} has no effect: one image of a class has no context in its own set")
    form = generative.GuidanceForm(
        scale=cfg.guidance_scale,
        beta=beta,
        likelihood=cfg.likelihood,
        centroid=cfg.centroid.value,
        gradient=cfg.gradient.value,
        trust=cfg.trust,
        window=(cfg.window[0], cfg.window[1]),
        temperature=cfg.temperature,
        symbols=symbols,
        symbol_temperature=cfg.symbol_temperature,
        at_noise=cfg.point is Point.x_t,
        normalisation=cfg.normalisation.value,
        per_class=size.drawn,
        raw=cfg.step is StepKind.raw,
    )
    variance = generative.within_class_variance(ctx, ctx.dataset, prior, ctx.group(GeneratorConfig))
    return generative.InformationGuidance(form, _predict(cfg, estimator, channel), prior, real, variance)


def _predict(cfg: Config, estimator: Estimator, channel: Channel | None) -> Predict:
    """The estimator's labels, and the channel's symbols if they are asked for: in one pass if both are
    its."""
    if channel is None:
        return lambda x: information.Predictions(estimator.net(x))
    if cfg.estimator is EstimatorKind.channel:
        return channel.predict
    return lambda x: information.Predictions(estimator.net(x), channel.word(x))


def _real_centroids(
    ctx: Context, cfg: Config, prior: Prior, estimator: Estimator, channel: Channel | None
) -> torch.Tensor:
    """Q of real images, of labels (K, K) or of symbols (K, S)."""
    if cfg.context is Variability.labels and cfg.estimator is not EstimatorKind.channel:
        return estimator.centroids
    assert channel is not None
    symbols = cfg.context is Variability.symbols
    temperature = cfg.symbol_temperature if symbols else cfg.temperature
    read = channel.word if symbols else lambda x: channel.predict(x).labels
    return information.real_centroids(ctx.dataset, read, _space(ctx, cfg, prior).clean, temperature)


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
