"""Reduce every mixture of a run, one after another, so that a stopped run can go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from distill_bench.mixtures.examples import originals
from distill_bench.mixtures.gaussian import GaussianMixture
from distill_bench.mixtures.greedy import Reduction

if TYPE_CHECKING:
    from distill_bench.groups import MixtureConfig
    from distill_bench.running import Run

__all__ = ["Draws", "reduce_draws"]


class Draws(NamedTuple):
    """The original of each draw, its reduction, and the wall time in seconds. Mixtures lie on the CPU."""

    originals: list[GaussianMixture]
    reductions: list[Reduction]
    seconds: list[float]


def reduce_draws(
    run: Run, config: MixtureConfig, reduce: Callable[[GaussianMixture, int], Reduction]
) -> Draws:
    """`reduce(mixture, target)` for each draw of `config`, on the run's device.

    A time holds the transfer of the result to the CPU. The loop is resumable, draw by draw. Before the clock
    starts one pair of the first mixture is merged, so that the times do not hold what is made only once in a
    process.
    """
    mixtures = originals(config, run.seed)
    state = _empty_state(len(mixtures), config.components, config.target, config.dimension)
    reduce(mixtures[0].select(slice(config.target + 1)).to(run.device), config.target)
    for draw in run.loop("reduce", len(mixtures), state):
        original = mixtures[draw].to(run.device)
        started = time.perf_counter()
        reduction = reduce(original, config.target)
        g = reduction.mixture.to("cpu")
        state["seconds"][draw] = time.perf_counter() - started
        _write(state, draw, g, reduction)
    reductions = [_read(state, draw) for draw in range(len(mixtures))]
    return Draws(mixtures, reductions, state["seconds"].tolist())


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


def _write(state: dict[str, torch.Tensor], draw: int, g: GaussianMixture, reduction: Reduction) -> None:
    """Write one result into the state, in place."""
    merges = reduction.merges
    state["sizes"][draw] = torch.tensor([len(g), len(merges), reduction.dropped])
    for name in ("log_weights", "means", "covariances"):
        state[name][draw, : len(g)] = getattr(g, name)
    state["merges"][draw, : len(merges)] = torch.tensor(merges, dtype=torch.long).view(-1, 2)


def _read(state: dict[str, torch.Tensor], draw: int) -> Reduction:
    """Read one result from the state."""
    size, merges, dropped = state["sizes"][draw].tolist()
    parts = (state[name][draw, :size].clone() for name in ("log_weights", "means", "covariances"))
    pairs = [(int(i), int(j)) for i, j in state["merges"][draw, :merges].tolist()]
    return Reduction(GaussianMixture(*parts), pairs, dropped)
