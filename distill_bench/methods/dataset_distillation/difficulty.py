"""Difficulty-guided sampling, Li et al., ICCV 2025 workshop on curated data for efficient learning, arXiv
2507.03331.

A step after any generative distiller: of a pool of several times IPC images, those are kept whose histogram
of difficulty, on a logarithmic scale, follows that of the original training images. Difficulty is 1 - p(y |
x) under a classifier of the task.

Two consequences of the published code, which `match` and `threshold_unit` can change: thresholds count
images, so that they trim a larger share of the pool than of the originals; and both sets are scaled by their
own bounds, so that what is matched is difficulty relative to the set's own.

Departures: the published entry point reads a choice of target and then always takes the originals; ours does
as asked. Its search is empty for IPC 1, and a perfect scorer gives it NaN (see `selection.thresholds`). Of
equal remainders the first bin gets the image, where theirs leaves it to rounding; and the scores 0.3, 0.6 and
0.7 lie in the bins that begin there, one above theirs (see `selection.histogram`). The published scorer is
ResNet-50, which has seen the originals; the default here is trained on the data set and cross-fitted (our
choice).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from distill_bench import products, reporting, selection
from distill_bench.catalogue import method_module
from distill_bench.contract import MethodInfo, ProductSpec
from distill_bench.errors import require
from distill_bench.files import write_json
from distill_bench.groups import IpcConfig, StudentConfig, TeacherConfig
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import SyntheticSet
    from distill_bench.selection import Choice, Scorer, Scores, Thresholds

__all__ = ["INFO", "Config", "Match", "ScorerKind", "Target", "ThresholdUnit", "parts", "run", "select"]


class Target(Enum):
    """What the selection aims at."""

    original = "original"  # the histogram of the training images
    hill = "hill"  # the shapes that are shipped with the published code
    ground = "ground"
    slope = "slope"
    cliff = "cliff"
    list = "list"  # the histogram given as `shape`
    easy = "easy"  # the easiest images
    hard = "hard"  # the hardest
    random = "random"  # any
    first = "first"  # what the base makes without selection
    confident = (
        "confident"  # classified right, and then the most (IPC >= 50: the least) confident, as CaO2 does
    )


class Match(Enum):
    """Whose bounds the pool's logarithmic scale has."""

    relative = "relative"  # its own
    absolute = "absolute"  # those of the originals


class ThresholdUnit(Enum):
    """What the pool's thresholds are for the originals."""

    count = "count"  # the same numbers of images
    fraction = "fraction"  # the same shares of the images


class ScorerKind(Enum):
    """The classifier that says how difficult an image is."""

    trained = "trained"  # the run's student, trained on the training part
    resnet50 = "resnet50"  # torchvision's, of ImageNet
    teacher = "teacher"  # the classifiers of teacher=; like the published one, they have seen the originals


HISTOGRAMS = (Target.original, Target.hill, Target.ground, Target.slope, Target.cliff, Target.list)


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters with the published code's values, but for the scorer."""

    name: str = "difficulty"
    base: str = "diffusion"  # the method of this task that makes the pool (published: minimax)
    base_settings: dict[str, Any] = field(default_factory=dict)  # what differs from the base's own settings
    pool_factor: float = 5.0  # size of the pool over IPC, >= 1
    target: Target = Target.original  # see Target
    shape: list[int] = field(
        default_factory=list
    )  # for target=list: images of each of the 10 bins, or their ratio
    balance: float = (
        0.5  # lambda, weight of staying near the raw histogram when thresholds are searched, in [0, 1]
    )
    decimals: int = 4  # of the scores, 1 to 15
    hist_smoothing: float = 0.0  # images added to each bin when thresholds are searched, >= 0
    match: Match = Match.relative  # relative | absolute
    threshold_unit: ThresholdUnit = ThresholdUnit.count  # count | fraction
    scorer: ScorerKind = ScorerKind.trained  # trained | resnet50 (published; subsets of ImageNet) | teacher
    cross_fit: int = (
        2  # trained: folds, each scored by the network that has not seen it; 1 as the published scorer
    )
    scorer_steps: int = 2000  # trained: optimisation steps of each network, in whole epochs
    scorer_path: str = ""  # resnet50: a file of weights; empty: torchvision's download
    restrict_softmax: bool = False  # resnet50: the softmax over the data set's classes in place of all 1000

    def __post_init__(self) -> None:
        require(self.base != "difficulty", "method.base", self.base, "another method of the task")
        fits = self.pool_factor >= 1
        require(
            fits, "method.pool_factor", self.pool_factor, ">= 1: IPC images cannot come from a smaller pool"
        )
        whole = len(self.shape) == 10 and min(self.shape, default=0) >= 0 and sum(self.shape) > 0
        allowed = (
            "10 numbers >= 0, not all 0, for target=list"
            if self.target is Target.list
            else "empty but for list"
        )
        require(whole if self.target is Target.list else not self.shape, "method.shape", self.shape, allowed)
        require(0 <= self.balance <= 1, "method.balance", self.balance, "in [0, 1]")
        require(1 <= self.decimals <= 15, "method.decimals", self.decimals, "from 1 to 15")
        require(self.hist_smoothing >= 0, "method.hist_smoothing", self.hist_smoothing, ">= 0")
        require(self.cross_fit >= 1, "method.cross_fit", self.cross_fit, ">= 1")
        require(self.scorer_steps >= 1, "method.scorer_steps", self.scorer_steps, ">= 1")

    def unused(self) -> frozenset[str]:
        """The fields of other scorers."""
        own = {
            ScorerKind.trained: {"cross_fit", "scorer_steps"},
            ScorerKind.resnet50: {"scorer_path", "restrict_softmax"},
        }
        return frozenset().union(*(names for kind, names in own.items() if kind is not self.scorer))

    def inputs(self) -> dict[str, str]:
        """The user's own file of weights, if there is one."""
        return {"scorer_path": self.scorer_path} if self.scorer_path else {}


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Task-Specific Generative Dataset Distillation with Difficulty-Guided Sampling, ICCVW 2025, "
    "arXiv 2507.03331",
    summary="draws from a generated pool by the difficulty of the original images",
    uses=("dataset", "ipc"),
    uses_when={
        "student": lambda cfg: cfg.scorer is ScorerKind.trained,
        "teacher": lambda cfg: cfg.scorer is ScorerKind.teacher,
    },
)


def parts(cfg: Config, groups: Mapping[str, Any]) -> dict[str, ProductSpec]:
    """The pool: `pool_factor` times IPC images per class that `base` makes. UserError for a base of another
    task."""
    task = method_module(cfg.base).INFO.task
    require(task == INFO.task, "method.base", cfg.base, f"a method of {INFO.task}, not of {task}")
    size = round(cfg.pool_factor * groups["ipc"].drawn)
    ipc = {"ipc": {"images_per_class": size}}
    return {
        "method.base": ProductSpec(
            kind="synthetic_set", method=cfg.base, settings=cfg.base_settings, groups=ipc
        )
    }


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was selected of one class, and by what. Legend: M images of the pool, N originals, B = 10 bins."""

    choice: Choice
    thresholds: Thresholds
    pool_bounds: tuple[float, float]
    original_bounds: tuple[float, float]
    pool_M: torch.Tensor  # difficulty, raw
    originals_N: torch.Tensor
    pool_scaled_M: torch.Tensor  # difficulty on the logarithmic scale
    originals_scaled_N: torch.Tensor
    quotas_B: (
        torch.Tensor
    )  # images wanted of each bin; for a target without a histogram, as for the originals

    @property
    def selected_B(self) -> torch.Tensor:
        """Images of the selection in each bin."""
        return selection.histogram(selection.bin_numbers(self.pool_scaled_M[self.choice.places]))

    @property
    def divergence(self) -> float:
        """KL (bits) of the selection's histogram from the quotas, half an image added to each bin so that it
        is finite."""
        return float(selection.divergence(self.selected_B, self.quotas_B, smoothing=0.5))

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        numbers = {"originals": self.originals_scaled_N, "pool": self.pool_scaled_M}
        counts = {n: selection.histogram(selection.bin_numbers(z)).tolist() for n, z in numbers.items()}
        means = {
            "originals": self.originals_N,
            "pool": self.pool_M,
            "selection": self.pool_M[self.choice.places],
        }
        return {
            "thresholds": [self.thresholds.easiest, self.thresholds.hardest],
            "threshold_score": self.thresholds.score if self.thresholds.finite else None,
            "bounds": {"originals": list(self.original_bounds), "pool": list(self.pool_bounds)},
            "histograms": {**counts, "selection": self.selected_B.tolist()},
            "quotas": self.quotas_B.tolist(),
            "shortage": self.choice.shortage,
            "mean_difficulty": {name: round(float(values.mean()), 6) for name, values in means.items()},
            "kept": self.choice.places.tolist(),
        }


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    """Make the pool, score it and the originals, and keep IPC images of each class in random order."""
    data, per_class = ctx.dataset, ctx.group(IpcConfig).drawn
    (spec,) = parts(cfg, ctx.groups).values()
    pool: SyntheticSet = ctx.product(spec)
    labels, classes = pool.labels, data.num_classes
    scorer, originals = _scored_originals(ctx, cfg)
    scores = scorer.score(zip(pool.inputs().split(500), labels.split(500), strict=True))
    of_pool = selection.by_class(scores.rounded(cfg.decimals), labels, classes, f"base={cfg.base}")
    of_data = selection.by_class(originals.rounded(cfg.decimals), data.train.labels, classes, data.name)

    members = labels.argsort(stable=True).split([len(scores.difficulty) for scores in of_pool])
    selections, rows = [], []
    for k, (drawn, real) in enumerate(zip(of_pool, of_data, strict=True)):
        keys = torch.rand(len(drawn.difficulty), generator=_draws(ctx, "keys", k), dtype=torch.float64)
        selections.append(select(drawn, real, keys, per_class, cfg))
        order = torch.randperm(per_class, generator=_draws(ctx, "order", k))
        rows.append(members[k][selections[k].choice.places[order].to(ctx.device)])
    _warn(ctx, cfg, selections, [pool.images[indices] for indices in members])
    report = _report(ctx, cfg, data.class_names, selections)
    images = pool.images[torch.cat(rows)]
    return products.synthetic_set(data, images, measures=_measures(selections), artifacts=report)


def select(pool: Scores, originals: Scores, keys_M: torch.Tensor, per_class: int, cfg: Config) -> Selection:
    """Thresholds from the pool of one class, the same transform of both sets, quotas, and the draw."""
    d_M, d_N = pool.difficulty, originals.difficulty
    thresholds = selection.best_thresholds(d_M, per_class, cfg.balance, cfg.hist_smoothing)
    trim = (thresholds.easiest, thresholds.hardest)
    scale = len(d_N) if cfg.threshold_unit is ThresholdUnit.fraction else len(d_M)
    easiest, hardest = (number * scale // len(d_M) for number in trim)
    original_bounds = selection.bounds(d_N, easiest, hardest)
    pool_bounds = selection.bounds(d_M, *trim) if cfg.match is Match.relative else original_bounds
    z_M, z_N = selection.log_difficulty(d_M, *pool_bounds), selection.log_difficulty(d_N, *original_bounds)
    quotas_B = selection.largest_remainder(_weights(cfg, z_N, per_class), per_class)
    return Selection(
        choice=_choose(cfg.target, pool, z_M, quotas_B, keys_M, per_class),
        thresholds=thresholds,
        pool_bounds=pool_bounds,
        original_bounds=original_bounds,
        pool_M=d_M,
        originals_N=d_N,
        pool_scaled_M=z_M,
        originals_scaled_N=z_N,
        quotas_B=quotas_B,
    )


def _weights(cfg: Config, originals_scaled_N: torch.Tensor, per_class: int) -> torch.Tensor:
    """The wanted histogram, up to its sum."""
    if cfg.target is Target.list:
        return torch.tensor(cfg.shape)
    if cfg.target.name in selection.SHAPES:
        return torch.tensor(selection.shape_for(cfg.target.name, per_class))
    return selection.histogram(selection.bin_numbers(originals_scaled_N))


def _choose(
    target: Target,
    pool: Scores,
    scaled_M: torch.Tensor,
    quotas_B: torch.Tensor,
    keys_M: torch.Tensor,
    count: int,
) -> Choice:
    if target in HISTOGRAMS:
        return selection.fill_bins(selection.bin_numbers(scaled_M), quotas_B, keys_M)
    if target is Target.confident:
        return selection.most_or_least_confident(pool.difficulty, pool.right, keys_M, count)
    if target in (Target.easy, Target.hard):
        return selection.most_extreme(pool.difficulty, keys_M, count, hardest=target is Target.hard)
    order = torch.arange(len(keys_M)) if target is Target.first else keys_M.argsort()
    return selection.Choice(order[:count], 0)


def _scored_originals(ctx: Context, cfg: Config) -> tuple[Scorer, Scores]:
    data = ctx.dataset
    if cfg.scorer is ScorerKind.resnet50:
        return selection.pretrained_scorer(ctx, data, cfg.scorer_path, cfg.restrict_softmax)
    if cfg.scorer is ScorerKind.teacher:
        return selection.given_scorer(data, ctx.products(TeacherConfig))
    return selection.trained_scorer(ctx, data, ctx.group(StudentConfig), cfg.scorer_steps, cfg.cross_fit)


def _draws(ctx: Context, purpose: str, k: int) -> torch.Generator:
    return ctx.generator("difficulty", purpose, k, device="cpu")


def _measures(selections: list[Selection]) -> tuple[Measure, ...]:
    sets = {
        "selection": [one.pool_M[one.choice.places] for one in selections],
        "pool": [one.pool_M for one in selections],
        "originals": [one.originals_N for one in selections],
    }
    means = {of: float(torch.cat(values).mean()) for of, values in sets.items()}
    return (
        *(Measure(name="difficulty", values=[mean], facets={"of": of}) for of, mean in means.items()),
        Measure(
            name="histogram_divergence", values=[sum(one.divergence for one in selections) / len(selections)]
        ),
        Measure(name="shortage", values=[float(sum(one.choice.shortage for one in selections))]),
    )


def _report(
    ctx: Context, cfg: Config, class_names: Sequence[str], selections: list[Selection]
) -> dict[str, str]:
    """Write what happened in each class, and a picture of all of them together."""
    details = [{"class": name, **one.as_dict()} for name, one in zip(class_names, selections, strict=True)]
    write_json(ctx.folder / "difficulty.json", details)
    raw, scaled = (
        {
            "originals": torch.cat([getattr(one, f"originals{end}_N") for one in selections]).numpy(),
            "pool": torch.cat([getattr(one, f"pool{end}_M") for one in selections]).numpy(),
            "selection": torch.cat(
                [getattr(one, f"pool{end}_M")[one.choice.places] for one in selections]
            ).numpy(),
        }
        for end in ("", "_scaled")
    )
    quotas = (
        torch.stack([one.quotas_B for one in selections]).sum(0).numpy() if cfg.target in HISTOGRAMS else None
    )
    reporting.draw_difficulty(ctx.folder / "difficulty.png", raw, scaled, quotas)
    return {"difficulty": "difficulty.png", "difficulty_details": "difficulty.json"}


def _warn(ctx: Context, cfg: Config, selections: list[Selection], pool: list[torch.Tensor]) -> None:
    """Say where the algorithm fell back on something, and where the base repeats itself."""
    classes = len(selections)
    infinite = sum(not one.thresholds.finite for one in selections)
    flat = sum(hi <= lo for one in selections for lo, hi in {one.pool_bounds, one.original_bounds})
    repeating = sum(_distinct(images) < len(images) for images in pool)
    lines = []
    if infinite:
        lines.append(
            f"no thresholds leave every bin of the pool filled in {infinite} of {classes} classes, so that "
            "(0, 0) is taken; method.hist_smoothing helps"
        )
    if flat:
        lines.append(
            f"{flat} of {2 * classes} sets have no scale (all kept scores agree); all of it counts as 0.5"
        )
    if repeating:
        lines.append(
            f"base={cfg.base} repeats images in {repeating} of {classes} classes; a smaller pool may help"
        )
    for line in lines:
        ctx.say(f"difficulty: {line}")


def _distinct(images: torch.Tensor) -> int:
    return len({hashlib.blake2b(image.numpy().data).digest() for image in images.cpu().contiguous()})
