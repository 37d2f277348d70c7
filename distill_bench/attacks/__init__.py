"""Attacks within a budget: one inner maximisation, and what it does to classifiers."""

from distill_bench.attacks.evaluate import Flags, robust_flags
from distill_bench.attacks.maximise import Budget, cross_entropy, margin, maximise, random_within

__all__ = ["Budget", "Flags", "cross_entropy", "margin", "maximise", "random_within", "robust_flags"]
