"""`mixture=`: the Gaussian mixtures that are reduced."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["MixtureConfig", "MixtureKind"]


class MixtureKind(Enum):
    """Families of Gaussian mixtures to reduce."""

    classic = "classic"  # the ten-component one-dimensional mixture of the literature
    random = "random"  # seeded random mixtures


@dataclass(kw_only=True)
class MixtureConfig(Group):
    """the Gaussian mixtures that are reduced."""

    LABELLED: ClassVar[frozenset[str]] = frozenset({"name", "components", "target", "dimension"})

    name: str = "classic"
    kind: MixtureKind = MixtureKind.classic
    components: int = 10  # N
    target: int = 5  # L, components after reduction
    dimension: int = 1  # d
    draws: int = 1  # how many mixtures, each reduced on its own

    def __post_init__(self) -> None:
        for key, most in (("dimension", 1000), ("components", 20_000), ("draws", 100_000)):
            value = getattr(self, key)
            require(1 <= value <= most, f"mixture.{key}", value, f"from 1 to {most}")
        fits = 1 <= self.target <= self.components
        require(fits, "mixture.target", self.target, f"from 1 to mixture.components ({self.components})")
        if self.kind is MixtureKind.classic:
            sizes = (self.components, self.dimension, self.draws)
            require(
                sizes == (10, 1, 1), "mixture.(components, dimension, draws)", sizes, "(10, 1, 1) for classic"
            )

    def label(self, choice: str) -> dict[str, Any]:
        """The family, and what is reduced to what."""
        numbers = {"dimension": self.dimension, "components": self.components, "target": self.target}
        return {"mixture": choice, **numbers}
