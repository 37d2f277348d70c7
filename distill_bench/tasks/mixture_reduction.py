"""Mixture reduction: a Gaussian mixture with fewer components, measured against the original."""

from __future__ import annotations

from typing import Any

from distill_bench import mixtures
from distill_bench.contract import Context, Method, Outcome
from distill_bench.files import save_tensors
from distill_bench.metrics import Measure

__all__ = ["run"]


def run(ctx: Context, method: Method, cfg: Any) -> Outcome:
    """Let the method reduce every draw of the mixture, keep the results with a picture of the first, measure
    them.

    Measures, one value per draw: `distance`, `ise`, `nise` in closed form; `kl` of the reduced from the
    original, by quadrature in one dimension and else from 100,000 samples, the same for every method;
    `mean_error`, `covariance_error`; and `seconds` of the reduction alone.
    """
    product: mixtures.ReducedMixtures = method.run(ctx, cfg)
    reduced = [reduction.mixture for reduction in product.reductions]
    pairs = list(zip(product.originals, reduced, strict=True))
    values: dict[str, list[float]] = {
        **{
            name: [float(mixtures.distance(f, g, measure)) for f, g in pairs]
            for name, measure in _distances().items()
        },
        "kl": [_divergence(ctx, draw, f, g) for draw, (f, g) in enumerate(pairs)],
        "mean_error": [float((mixtures.overall_mean(f) - mixtures.overall_mean(g)).norm()) for f, g in pairs],
        "covariance_error": [
            float((mixtures.overall_covariance(f) - mixtures.overall_covariance(g)).norm()) for f, g in pairs
        ],
        "seconds": product.seconds,
    }
    return Outcome([Measure(name=name, values=each) for name, each in values.items()], _keep(ctx, product))


def _distances() -> dict[str, mixtures.Distance]:
    return {"distance": mixtures.angular, "ise": mixtures.ise, "nise": mixtures.nise}


def _divergence(ctx: Context, draw: int, f: mixtures.GaussianMixture, g: mixtures.GaussianMixture) -> float:
    """KL(f || g) in nats; the samples follow from the run's seed and the draw."""
    if f.dimension == 1:
        return mixtures.kl_quadrature(f, g)
    return mixtures.kl_monte_carlo(f, g, ctx.generator("kl", draw, device="cpu"))


def _keep(ctx: Context, product: mixtures.ReducedMixtures) -> dict[str, str]:
    """Write the originals, their reductions and the merge trees, and a picture of the first draw."""
    from distill_bench.reporting.mixture_figure import draw_mixture

    path, picture = ctx.folder.path / "reduced.safetensors", ctx.folder.path / "mixture.png"
    content = {
        "originals": [_parts(f) for f in product.originals],
        "reduced": [_parts(reduction.mixture) for reduction in product.reductions],
        "merges": [[list(pair) for pair in reduction.merges] for reduction in product.reductions],
    }
    save_tensors(path, content, {"run": ctx.folder.run_id})
    original, reduced = (
        tuple(part.numpy() for part in _parts(f).values())
        for f in (product.originals[0], product.reductions[0].mixture)
    )
    draw_mixture(picture, original, reduced)
    return {"product": path.name, "picture": picture.name}


def _parts(f: mixtures.GaussianMixture) -> dict[str, Any]:
    return {"weights": f.weights, "means": f.means, "covariances": f.covariances}
