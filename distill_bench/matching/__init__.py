"""Matching of distributions, gradients and trajectories, and coresets: what methods of dataset distillation
share."""

from distill_bench.matching.attention import (
    AttentionMatching,
    channel_attention,
    joint_attention,
    spatial_attention,
)
from distill_bench.matching.coresets import greedy_kcenter, herding, select_coreset
from distill_bench.matching.distribution import distribution_work, initial_images, match_class_means
from distill_bench.matching.gradients import gradient_work, loop_lengths, match_gradients
from distill_bench.matching.trajectories import match_trajectories, trajectory_work

__all__ = [
    "AttentionMatching",
    "channel_attention",
    "distribution_work",
    "gradient_work",
    "greedy_kcenter",
    "herding",
    "initial_images",
    "joint_attention",
    "loop_lengths",
    "match_class_means",
    "match_gradients",
    "match_trajectories",
    "select_coreset",
    "spatial_attention",
    "trajectory_work",
]
