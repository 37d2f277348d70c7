"""Distribution matching and coreset selection: what several methods of dataset distillation share."""

from distill_bench.matching.attention import AttentionMatching, channel_attention, joint_attention, spatial_attention
from distill_bench.matching.coresets import greedy_kcenter, herding, select_coreset
from distill_bench.matching.distribution import distribution_work, initial_images, match_class_means

__all__ = [
    "AttentionMatching",
    "channel_attention",
    "distribution_work",
    "greedy_kcenter",
    "herding",
    "initial_images",
    "joint_attention",
    "match_class_means",
    "select_coreset",
    "spatial_attention",
]
