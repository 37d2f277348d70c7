"""OGGMR: A New Probabilistic Distance Metric With Application In Gaussian Mixture Reduction, Sajedi,
Lawryshyn and Plataniotis, ICASSP 2023, arXiv 2306.07309: greedy merging under a closed-form metric, then
optimisation.

Only the abstract and the opening of the paper could be read. That its metric is the angle in L2, that the
greedy stage measures the distance to the original mixture, and that the optimisation minimises the same
distance over all parameters are our choices, made so that every sentence of the abstract holds; see
`mixtures.metric`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from distill_bench import mixtures, products
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import MixtureConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.mixtures import GaussianMixture, Reduction
    from distill_bench.products import ReducedMixtures

__all__ = ["INFO", "Config", "Criterion", "Metric", "Refine", "Start", "run"]

_FULL_UP_TO = 32  # components for which `refine: auto` optimises all parameters

# global: distance between the original mixture and the one after the merge
# local: distance between the two components, as a mixture of their own, and their merge
Criterion = Enum("Criterion", ["global", "local"])


class Metric(Enum):
    """The distance between two densities. All three are metrics."""

    angular = "angular"  # arccos of the cosine in L2
    chordal = "chordal"  # 2 sin(angle / 2): orders everything as the angle does
    l2 = "l2"  # root of the integrated squared error: changes with the unit of the space


class Refine(Enum):
    """What is optimised after merging."""

    none = "none"  # nothing: mean and covariance of the whole stay exact
    weights = "weights"  # the weights (exact, non-negative least squares)
    full = "full"  # weights, means and covariances (L-BFGS)
    auto = "auto"  # full up to 32 components, weights above


class Start(Enum):
    """Which greedy result is optimised."""

    greedy = "greedy"  # that of this method's criterion and metric
    runnalls = "runnalls"
    west = "west"


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters. The paper's could not be established; all values are our choice."""

    name: str = "oggmr"
    criterion: Criterion = Criterion["global"]  # global | local
    metric: Metric = Metric.angular  # angular | chordal | l2
    refine: Refine = Refine.auto  # none | weights | full | auto
    iterations: int = 200  # steps of L-BFGS at most, in each of up to three rounds
    starts: list[Start] = field(default_factory=lambda: [Start.greedy])  # the best after refinement is kept
    all_pairs: int = 400  # criterion global: every pair is a candidate up to this many components
    neighbours: int = 20  # above, the nearest ones of each component, by the local criterion

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        allowed = f"at least one of {', '.join(Start.__members__)}"
        require(len(self.starts) > 0, "method.starts", self.starts, allowed)
        require(self.all_pairs >= 1, "method.all_pairs", self.all_pairs, ">= 1")
        require(
            1 <= self.neighbours <= self.all_pairs,
            "method.neighbours",
            self.neighbours,
            "from 1 to all_pairs",
        )


INFO = MethodInfo(
    task="mixture_reduction",
    paper="A New Probabilistic Distance Metric With Application In Gaussian Mixture Reduction, ICASSP 2023, "
    "arXiv 2306.07309",
    summary="greedy merging nearest to the original in a closed-form metric, then optimisation",
    uses=("mixture",),
)


def run(ctx: Context, cfg: Config) -> ReducedMixtures:
    """Reduce f to L components, for each draw:

    A. g = f; while g has more than L components, merge the pair after which D(f, g) is smallest.
    B. From there minimise D(f, g) over the parameters of g; the result is never farther than that of A.
    """
    config = ctx.group(MixtureConfig)
    draws = mixtures.reduce_draws(ctx, config, lambda f, target: _reduce(f, target, cfg))
    return products.ReducedMixtures(**draws._asdict())


def _reduce(f: GaussianMixture, target: int, cfg: Config) -> Reduction:
    """Stages A and B from every start; the nearest result."""
    metric = {Metric.angular: mixtures.angular, Metric.chordal: mixtures.chordal, Metric.l2: mixtures.l2}[
        cfg.metric
    ]
    results = [
        _refined(f, mixtures.reduce_greedily(f, target, _rule(start, cfg, metric)), cfg)
        for start in cfg.starts
    ]
    return min(results, key=lambda result: float(mixtures.distance(f, result.mixture, metric)))


def _rule(start: Start, cfg: Config, metric: mixtures.Distance) -> mixtures.MakeRule:
    """Stage A: how to choose the pairs."""
    if start is Start.runnalls:
        return partial(mixtures.Cheapest, cost=mixtures.kl_bound)
    if start is Start.west:
        return mixtures.LeastImportant
    if cfg.criterion.name == "local":
        return partial(mixtures.Cheapest, cost=mixtures.pair_distance(metric))
    return partial(
        mixtures.NearestToOriginal, metric=metric, all_pairs=cfg.all_pairs, neighbours=cfg.neighbours
    )


def _refined(f: GaussianMixture, reduction: Reduction, cfg: Config) -> Reduction:
    """Stage B. A mixture of which nothing was merged is left as it is."""
    g = reduction.mixture
    objective = mixtures.SQUARED_ERROR if cfg.metric is Metric.l2 else mixtures.ANGLE
    full = cfg.refine is Refine.full or (cfg.refine is Refine.auto and len(g) <= _FULL_UP_TO)
    if cfg.refine is Refine.none or len(g) == len(f):
        return reduction
    refined = (
        mixtures.refine(f, g, objective, cfg.iterations) if full else mixtures.refine_weights(f, g, objective)
    )
    return mixtures.Reduction(refined, reduction.merges, reduction.dropped)
