"""Class-conditional generative models, trained here or elsewhere, and how images are drawn from them."""

from distill_bench.generative.guidance import (
    GuidanceSettings,
    InformationGuidance,
    gradient_factor,
    redraw_wrong,
    within_class_variance,
)
from distill_bench.generative.load import fresh_network, load_prior, prior_parts, prior_work
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import Hook, Step, draw_set, reverse, sampling_work

__all__ = [
    "GuidanceSettings",
    "Hook",
    "InformationGuidance",
    "Prior",
    "Step",
    "draw_set",
    "fresh_network",
    "gradient_factor",
    "load_prior",
    "prior_parts",
    "prior_work",
    "redraw_wrong",
    "reverse",
    "sampling_work",
    "within_class_variance",
]
