"""Class-conditional generative models, trained here or elsewhere, and how images are drawn from them."""

from distill_bench.generative.load import load_prior, prior_parts
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import Hook, Step, draw_set, reverse

__all__ = ["Hook", "Prior", "Step", "draw_set", "load_prior", "prior_parts", "reverse"]
