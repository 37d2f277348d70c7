"""Gaussian mixtures and their reduction: closed-form distances, greedy merging, refinement."""

from distill_bench.mixtures.divergence import kl_monte_carlo, kl_quadrature
from distill_bench.mixtures.draws import Draws, reduce_draws
from distill_bench.mixtures.examples import classic, originals, random
from distill_bench.mixtures.gaussian import (
    GaussianMixture,
    log_density,
    overall_covariance,
    overall_mean,
    sample,
)
from distill_bench.mixtures.greedy import MakeRule, Reduction, Rule, Slots, reduce_greedily
from distill_bench.mixtures.merging import merge
from distill_bench.mixtures.metric import (
    Distance,
    angular,
    cauchy_schwarz,
    chordal,
    distance,
    ise,
    l2,
    log_inner_product,
    nise,
    tanimoto,
)
from distill_bench.mixtures.nearest_to_original import NearestToOriginal
from distill_bench.mixtures.pair_cost import Cheapest, PairCost, kl_bound, pair_distance, pair_ise
from distill_bench.mixtures.products import Components, log_products
from distill_bench.mixtures.refinement import ANGLE, SQUARED_ERROR, Objective, refine, refine_weights
from distill_bench.mixtures.weights import best_weights, best_weights_l2, cone_projection
from distill_bench.mixtures.west import LeastImportant

__all__ = [
    "ANGLE",
    "SQUARED_ERROR",
    "Cheapest",
    "Components",
    "Distance",
    "Draws",
    "GaussianMixture",
    "LeastImportant",
    "MakeRule",
    "NearestToOriginal",
    "Objective",
    "PairCost",
    "Reduction",
    "Rule",
    "Slots",
    "angular",
    "best_weights",
    "best_weights_l2",
    "cauchy_schwarz",
    "chordal",
    "classic",
    "cone_projection",
    "distance",
    "ise",
    "kl_bound",
    "kl_monte_carlo",
    "kl_quadrature",
    "l2",
    "log_density",
    "log_inner_product",
    "log_products",
    "merge",
    "nise",
    "originals",
    "overall_covariance",
    "overall_mean",
    "pair_distance",
    "pair_ise",
    "random",
    "reduce_draws",
    "reduce_greedily",
    "refine",
    "refine_weights",
    "sample",
    "tanimoto",
]
