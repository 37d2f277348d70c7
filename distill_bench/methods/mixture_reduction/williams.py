"""Williams and Maybeck, Cost-Function-Based Gaussian Mixture Reduction for Target Tracking, FUSION 2003:
merges the pair that costs the least integrated squared error (ISE).

Departures: only merging, without their pruning and final optimisation (as recalled).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from distill_bench import mixtures, products
from distill_bench.contract import MethodInfo
from distill_bench.groups import MixtureConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import ReducedMixtures

__all__ = ["INFO", "Config", "Criterion", "run"]

# global: ISE between the original mixture and the one after the merge
# local: ISE between the weighted pair and its merge, which only looks at the two
Criterion = Enum("Criterion", ["global", "local"])


@dataclass(kw_only=True)
class Config:
    """Between which functions the error is taken."""

    name: str = "williams"
    criterion: Criterion = Criterion["global"]  # global | local: to the original mixture, or of the pair


INFO = MethodInfo(
    task="mixture_reduction",
    paper="baseline: Cost-Function-Based Gaussian Mixture Reduction for Target Tracking, FUSION 2003",
    summary="merges the pair that costs the least integrated squared error",
    uses=("mixture",),
)


def run(ctx: Context, cfg: Config) -> ReducedMixtures:
    r"""While there are more than L components, merge, preserving moments, the pair with the smallest

    .. math:: \int (f - g_{ij})^2 \quad\text{or}\quad \int (w_i N_i + w_j N_j - w_{ij} N_{ij})^2

    for the criterion `global` (f the original mixture, g_ij the one after the merge) or `local`.
    """
    to_original = partial(mixtures.NearestToOriginal, metric=mixtures.ise)
    of_the_pair = partial(mixtures.Cheapest, cost=mixtures.pair_ise)
    rule = to_original if cfg.criterion.name == "global" else of_the_pair
    config = ctx.group(MixtureConfig)
    draws = mixtures.reduce_draws(ctx, config, lambda f, target: mixtures.reduce_greedily(f, target, rule))
    return products.ReducedMixtures(**draws._asdict())
