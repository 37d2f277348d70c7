"""Stage B of OGGMR: optimise what greedy merging found. Never returns something worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from distill_bench.mixtures.gaussian import GaussianMixture, overall_covariance, overall_mean
from distill_bench.mixtures.loss import Loss, Problem, cosine_loss, squared_error
from distill_bench.mixtures.weights import best_weights, best_weights_l2

__all__ = ["ANGLE", "SQUARED_ERROR", "Objective", "refine", "refine_weights"]

_ROUNDS = 3  # of the weights alone, then everything
_TOLERANCE = 1e-8  # relative change of the loss at which the rounds end
_GRADIENT = 1e-9  # largest entry of the gradient at which L-BFGS ends ...
_DECREASE = 1e-12  # ... or decrease of the loss in one step


@dataclass(frozen=True)
class Objective:
    """What to minimise, and the step that finds the best weights under it."""

    loss: Loss
    best_weights: Callable[[GaussianMixture, GaussianMixture], GaussianMixture]


ANGLE = Objective(cosine_loss, best_weights)
SQUARED_ERROR = Objective(squared_error, best_weights_l2)


def refine_weights(f: GaussianMixture, g: GaussianMixture, objective: Objective = ANGLE) -> GaussianMixture:
    """g with the best weights for its components, or g itself where rounding made them no better."""
    on_cpu, start = f.to("cpu").normalised(), g.to("cpu").normalised()
    return _better(Problem(on_cpu, objective.loss), start, objective.best_weights(on_cpu, start)).to(
        f.means.device
    )


def refine(
    f: GaussianMixture, g: GaussianMixture, objective: Objective = ANGLE, iterations: int = 200
) -> GaussianMixture:
    """Alternate the best weights and at most `iterations` steps of L-BFGS over all parameters, in three
    rounds at most; never worse than `g`. Moments are no longer preserved, and components of weight 0 are
    dropped.

    The work is done on the CPU, in coordinates in which f has mean 0 and covariance I (our choice: the
    minimiser does not depend on them, and the optimiser becomes free of units).
    """
    centre, factor = overall_mean(f), torch.linalg.cholesky(overall_covariance(f))
    inverse = torch.linalg.solve_triangular(
        factor, torch.eye(f.dimension, dtype=factor.dtype).to(factor), upper=False
    )
    problem = Problem(_transformed(f.normalised(), inverse, -inverse @ centre).to("cpu"), objective.loss)
    best = _transformed(g.normalised(), inverse, -inverse @ centre).to("cpu")
    for _ in range(_ROUNDS):
        before = problem.value(best)
        best = _better(problem, best, objective.best_weights(problem.f, best))
        best = _better(problem, best, _descend(problem, best, iterations))
        if before - problem.value(best) <= _TOLERANCE * abs(before):
            break
    return _transformed(best.to(f.means.device), factor, centre)


def _descend(problem: Problem, g: GaussianMixture, iterations: int) -> GaussianMixture:
    """L-BFGS from `g` over logits, means and Cholesky factors."""
    if iterations == 0:  # SciPy would take one step
        return g

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = problem.value_and_gradient(torch.from_numpy(x))
        return float(value), gradient.numpy()

    options = {"maxiter": iterations, "gtol": _GRADIENT, "ftol": _DECREASE}
    optimum = minimize(loss, problem.flatten(g).numpy(), jac=True, method="L-BFGS-B", options=options)
    return problem.unflatten(torch.from_numpy(optimum.x))


def _better(problem: Problem, old: GaussianMixture, new: GaussianMixture) -> GaussianMixture:
    """`new` if its loss is smaller (and a number), else `old`."""
    return new if problem.value(new) < problem.value(old) else old


def _transformed(f: GaussianMixture, a: torch.Tensor, b: torch.Tensor) -> GaussianMixture:
    """The mixture of A x + b where x has density f."""
    return GaussianMixture(f.log_weights, f.means @ a.mT + b, a @ f.covariances @ a.mT)
