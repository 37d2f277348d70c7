"""Attacks: small changes of images that make networks err, and what accuracy is left under them."""

from distill_bench.attacks.ball import Ball, Region
from distill_bench.attacks.evaluate import Flags, balanced_subset, robust_flags
from distill_bench.attacks.examples import draw_examples
from distill_bench.attacks.maximise import maximise
from distill_bench.attacks.networks import PixelNetworks
from distill_bench.attacks.search import Attacked, Networks, attack_images

__all__ = [
    "Attacked",
    "Ball",
    "Flags",
    "Networks",
    "PixelNetworks",
    "Region",
    "attack_images",
    "balanced_subset",
    "draw_examples",
    "maximise",
    "robust_flags",
]
