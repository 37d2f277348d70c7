"""Selection by difficulty: how hard an image is for a classifier, and a draw that follows a wanted histogram
of it."""

from distill_bench.selection.choose import Choice, fill_bins, most_extreme, most_or_least_confident
from distill_bench.selection.histogram import BINS, bin_numbers, divergence, histogram, largest_remainder
from distill_bench.selection.pretrained import pretrained_scorer
from distill_bench.selection.scores import Scorer, Scores, by_class, given_scorer
from distill_bench.selection.shapes import SHAPES, shape_for
from distill_bench.selection.thresholds import Thresholds, best_thresholds, bounds, log_difficulty
from distill_bench.selection.trained import trained_scorer

__all__ = [
    "BINS",
    "SHAPES",
    "Choice",
    "Scorer",
    "Scores",
    "Thresholds",
    "best_thresholds",
    "bin_numbers",
    "bounds",
    "by_class",
    "divergence",
    "fill_bins",
    "given_scorer",
    "histogram",
    "largest_remainder",
    "log_difficulty",
    "most_extreme",
    "most_or_least_confident",
    "pretrained_scorer",
    "shape_for",
    "trained_scorer",
]
