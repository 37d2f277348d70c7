"""Mixture reduction: a Gaussian mixture with fewer components, measured against the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_bench import mixtures
from distill_bench.context import Context
from distill_bench.contract import Outcome
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from distill_bench.products import ReducedMixtures

__all__ = ["MEASURED_WITH", "PRODUCT", "SMOKE", "TABLE", "measure"]

PRODUCT = "reduced_mixtures"
MEASURED_WITH = ("mixture",)
TABLE = {key: key for key in ("mixture", "dimension", "components", "target")}
SMOKE = ("mixture=random", "mixture.components=6", "mixture.target=3", "mixture.dimension=2")


def measure(ctx: Context, product: ReducedMixtures) -> Outcome:
    """Measures, one value per draw: `distance`, `ise`, `nise` in closed form; `kl` of the reduced from the
    original, by quadrature in one dimension and else from 100,000 samples, the same for every method;
    `mean_error`, `covariance_error`; and `seconds` of the reduction alone.
    """
    pairs = [(f, r.mixture) for f, r in zip(product.originals, product.reductions, strict=True)]
    metrics = {"distance": mixtures.angular, "ise": mixtures.ise, "nise": mixtures.nise}
    values: dict[str, list[float]] = {
        **{
            name: [float(mixtures.distance(f, g, metric)) for f, g in pairs]
            for name, metric in metrics.items()
        },
        "kl": [_divergence(ctx, draw, f, g) for draw, (f, g) in enumerate(pairs)],
        "mean_error": [float((mixtures.overall_mean(f) - mixtures.overall_mean(g)).norm()) for f, g in pairs],
        "covariance_error": [
            float((mixtures.overall_covariance(f) - mixtures.overall_covariance(g)).norm()) for f, g in pairs
        ],
        "seconds": product.seconds,
    }
    return Outcome([Measure(name=name, values=each) for name, each in values.items()])


def _divergence(ctx: Context, draw: int, f: mixtures.GaussianMixture, g: mixtures.GaussianMixture) -> float:
    """KL(f || g) in nats; the samples follow from the run's seed and the draw."""
    if f.dimension == 1:
        return mixtures.kl_quadrature(f, g)
    return mixtures.kl_monte_carlo(f, g, ctx.generator("kl", draw, device="cpu"))
