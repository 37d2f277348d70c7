"""West, Approximating Posterior Distributions by Mixtures, J. R. Statist. Soc. B 55(2), 1993: merges the
least important component with its nearest neighbour.

Departure: importance is the weight over the trace of the covariance, the modified form that later comparisons
use (as recalled); West's own rule takes the weight alone.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    name: str = "west"


INFO = MethodInfo(
    task="mixture_reduction",
    paper="baseline: Approximating Posterior Distributions by Mixtures, J. R. Statist. Soc. B 1993",
    summary="merges the least important component with its nearest neighbour",
    uses=("mixture",),
)


def run(ctx: Context, cfg: Config) -> ReducedMixtures:  # noqa: ARG001 (every method takes its Config)
    r"""While there are more than L components: take the i with the smallest :math:`w_i / \operatorname{tr}
    S_i`, merge it, preserving moments, with the j of the smallest :math:`(\mu_j - \mu_i)' S_i^{-1} (\mu_j -
    \mu_i)`."""
    rule = mixtures.LeastImportant
    config = ctx.group(MixtureConfig)
    draws = mixtures.reduce_draws(ctx, config, lambda f, target: mixtures.reduce_greedily(f, target, rule))
    return products.ReducedMixtures(**draws._asdict())
