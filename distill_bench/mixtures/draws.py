"""Reduce every mixture of a run, one after another, so that a stopped run can go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from distill_bench.contract import Context
from distill_bench.mixtures.examples import originals
from distill_bench.mixtures.gaussian import GaussianMixture
from distill_bench.mixtures.greedy import Reduction

__all__ = ["ReducedMixtures", "reduce_draws"]


@dataclass(frozen=True)
class ReducedMixtures:
    """The product of mixture reduction: for each draw the original, its reduction, and the wall time in
    seconds.

    Both mixtures lie on the CPU.
    """

    originals: list[GaussianMixture]
    reductions: list[Reduction]
    seconds: list[float]


def reduce_draws(ctx: Context, reduce: Callable[[GaussianMixture, int], Reduction]) -> ReducedMixtures:
    """`reduce(mixture, target)` for each draw of `ctx.mixture`, on the run's device and timed with the
    transfer of the result to the CPU. The loop is resumable, draw by draw.

    Before the clock starts one pair of the first mixture is merged, so that the times do not hold what is
    made only once in a process.
    """
    mixtures = originals(ctx.mixture, ctx.seed)
    target = ctx.mixture.target
    state = _empty_state(len(mixtures), ctx.mixture.components, target, ctx.mixture.dimension)
    reduce(mixtures[0].select(slice(target + 1)).to(ctx.device), target)
    for draw in ctx.loop("reduce", len(mixtures), state):
        original = mixtures[draw].to(ctx.device)
        started = time.perf_counter()
        reduction = reduce(original, target)
        g = reduction.mixture.to("cpu")
        state["seconds"][draw] = time.perf_counter() - started
        _keep(state, draw, g, reduction)
    reductions = [_kept(state, draw) for draw in range(len(mixtures))]
    return ReducedMixtures(mixtures, reductions, state["seconds"].tolist())


def _empty_state(draws: int, components: int, target: int, dimension: int) -> dict[str, torch.Tensor]:
    """Room for the results of all draws; `sizes` (draws, 3) counts components, merges and dropped
    components."""
    return {
        "seconds": torch.zeros(draws, dtype=torch.float64),
        "sizes": torch.zeros(draws, 3, dtype=torch.long),
        "log_weights": torch.zeros(draws, target, dtype=torch.float64),
        "means": torch.zeros(draws, target, dimension, dtype=torch.float64),
        "covariances": torch.zeros(draws, target, dimension, dimension, dtype=torch.float64),
        "merges": torch.zeros(draws, components, 2, dtype=torch.long),
    }


def _keep(state: dict[str, torch.Tensor], draw: int, g: GaussianMixture, reduction: Reduction) -> None:
    """Write one result into the state, in place."""
    merges = reduction.merges
    state["sizes"][draw] = torch.tensor([len(g), len(merges), reduction.dropped])
    for name in ("log_weights", "means", "covariances"):
        state[name][draw, : len(g)] = getattr(g, name)
    state["merges"][draw, : len(merges)] = torch.tensor(merges, dtype=torch.long).view(-1, 2)


def _kept(state: dict[str, torch.Tensor], draw: int) -> Reduction:
    """Read one result from the state."""
    size, merges, dropped = state["sizes"][draw].tolist()
    parts = (state[name][draw, :size].clone() for name in ("log_weights", "means", "covariances"))
    pairs = [(int(i), int(j)) for i, j in state["merges"][draw, :merges].tolist()]
    return Reduction(GaussianMixture(*parts), pairs, dropped)
