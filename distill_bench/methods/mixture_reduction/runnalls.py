"""Runnalls, Kullback-Leibler Approach to Gaussian Mixture Reduction, IEEE TAES 43(3), 2007: merges the pair
whose merge can raise the Kullback-Leibler divergence least. Departures: none known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from distill_bench import mixtures, products
from distill_bench.contract import MethodInfo
from distill_bench.groups import MixtureConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import ReducedMixtures

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config:
    """The rule has no settings."""

    name: str = "runnalls"


INFO = MethodInfo(
    task="mixture_reduction",
    paper="baseline: Kullback-Leibler Approach to Gaussian Mixture Reduction, IEEE TAES 2007",
    summary="merges the pair with the smallest upper bound of the KL increase",
    uses=("mixture",),
)


def run(ctx: Context, cfg: Config) -> ReducedMixtures:  # noqa: ARG001 (every method takes its Config)
    r"""While there are more than L components, merge the pair with the smallest

    .. math:: \tfrac12\left[(w_i + w_j)\log|P_{ij}| - w_i\log|S_i| - w_j\log|S_j|\right]

    where P_ij is the covariance of the moment-preserving merge. A merge renews the costs of its pairs only.
    """
    rule = partial(mixtures.Cheapest, cost=mixtures.kl_bound)
    config = ctx.group(MixtureConfig)
    draws = mixtures.reduce_draws(ctx, config, lambda f, target: mixtures.reduce_greedily(f, target, rule))
    return products.ReducedMixtures(**draws._asdict())
