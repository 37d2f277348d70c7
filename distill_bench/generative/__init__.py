"""Class-conditional generative models, trained here or elsewhere, and how images are drawn from them."""

from distill_bench.generative.guidance import (
    GuidanceForm,
    InformationGuidance,
    gradient_factor,
    redraw_wrong,
    within_class_variance,
)
from distill_bench.generative.load import load_prior, prior_parts
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import Hook, Step, draw_set, reverse

__all__ = [
    "GuidanceForm",
    "Hook",
    "InformationGuidance",
    "Prior",
    "Step",
    "draw_set",
    "gradient_factor",
    "load_prior",
    "prior_parts",
    "redraw_wrong",
    "reverse",
    "within_class_variance",
]
