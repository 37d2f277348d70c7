"""The product of mixture reduction: originals, their reductions, and how these came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from distill_bench import mixtures
from distill_bench.metrics import Measure

__all__ = ["ReducedMixtures"]

_PARTS = ("log_weights", "means", "covariances")


@dataclass(frozen=True, kw_only=True)
class ReducedMixtures:
    """For each draw the original, its reduction, and the wall time in seconds. Mixtures lie on the CPU."""

    originals: list[mixtures.GaussianMixture]
    reductions: list[mixtures.Reduction]
    seconds: list[float]
    measures: tuple[Measure, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)

    def tensors(self) -> dict[str, Any]:
        """Everything, as a tree for a file: mixtures by the logarithms of their weights, means and
        covariances."""
        return {
            "originals": [_parts(f) for f in self.originals],
            "reduced": [_parts(reduction.mixture) for reduction in self.reductions],
            "merges": [[list(pair) for pair in reduction.merges] for reduction in self.reductions],
            "dropped": [reduction.dropped for reduction in self.reductions],
            "seconds": self.seconds,
        }

    @classmethod
    def from_tensors(cls, tree: Mapping[str, Any], device: torch.device) -> ReducedMixtures:  # noqa: ARG003
        """The product of such a tree."""
        rows = zip(tree["reduced"], tree["merges"], tree["dropped"], strict=True)
        reductions = [
            mixtures.Reduction(mixtures.GaussianMixture(**reduced), [(i, j) for i, j in merges], dropped)
            for reduced, merges, dropped in rows
        ]
        originals = [mixtures.GaussianMixture(**original) for original in tree["originals"]]
        return cls(originals=originals, reductions=reductions, seconds=tree["seconds"])

    def facts(self) -> dict[str, Any]:
        """What can be known without the content: how many draws, of which dimension."""
        return {"draws": len(self.originals), "dimension": self.originals[0].dimension}

    def draw(self, path: Path, title: str = "") -> None:
        """Write a PNG of the first original and its reduction, under `title`."""
        from distill_bench.reporting.mixture_figure import draw_mixture

        pair = (self.originals[0], self.reductions[0].mixture)
        original, reduced = ((f.weights.numpy(), f.means.numpy(), f.covariances.numpy()) for f in pair)
        draw_mixture(path, original, reduced, title)


def _parts(f: mixtures.GaussianMixture) -> dict[str, torch.Tensor]:
    return {name: getattr(f, name) for name in _PARTS}
