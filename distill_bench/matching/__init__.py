"""Matching of distributions, gradients and trajectories, and coresets: what methods of dataset distillation
share.

This package is cheap to import: a public name is loaded when it is first used, so that the methods' Configs
can take their types from `settings` before anything heavy is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_bench.deferred import lazy_names
from distill_bench.matching.settings import (
    FeatureSource,
    GradientDistance,
    GradientSettings,
    Init,
    starts_from_coreset,
)

if TYPE_CHECKING:
    from distill_bench.matching.attention import (
        AttentionMatching,
        channel_attention,
        joint_attention,
        spatial_attention,
    )
    from distill_bench.matching.coresets import coreset_features, greedy_kcenter, herding, select_coreset
    from distill_bench.matching.distribution import match_class_means
    from distill_bench.matching.gradients import loop_lengths, match_gradients
    from distill_bench.matching.initial import initial_images, random_indices
    from distill_bench.matching.trajectories import match_trajectories

__all__ = [
    "AttentionMatching",
    "FeatureSource",
    "GradientDistance",
    "GradientSettings",
    "Init",
    "channel_attention",
    "coreset_features",
    "greedy_kcenter",
    "herding",
    "initial_images",
    "joint_attention",
    "loop_lengths",
    "match_class_means",
    "match_gradients",
    "match_trajectories",
    "random_indices",
    "select_coreset",
    "spatial_attention",
    "starts_from_coreset",
]

__getattr__ = lazy_names(
    __name__,
    {
        "attention": ("AttentionMatching", "channel_attention", "joint_attention", "spatial_attention"),
        "coresets": ("coreset_features", "greedy_kcenter", "herding", "select_coreset"),
        "distribution": ("match_class_means",),
        "gradients": ("loop_lengths", "match_gradients"),
        "initial": ("initial_images", "random_indices"),
        "trajectories": ("match_trajectories",),
    },
)
