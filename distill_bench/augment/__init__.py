"""Differentiable siamese augmentation, vectorised over classes and over networks."""

from distill_bench.augment.operations import FAMILIES
from distill_bench.augment.siamese import Draw, apply, draw

__all__ = ["FAMILIES", "Draw", "apply", "draw"]
