"""Differentiable augmentation that treats real and synthetic images alike."""

from distill_bench.augment.operations import (
    brightness,
    color,
    contrast,
    crop,
    cutout,
    flip,
    rotate,
    saturation,
    scale,
)
from distill_bench.augment.siamese import Siamese, siamese
from distill_bench.augment.strategy import FAMILIES, UNIFORMS, Draw, apply, draw, draw_families, parameters

__all__ = [
    "FAMILIES",
    "UNIFORMS",
    "Draw",
    "Siamese",
    "apply",
    "brightness",
    "color",
    "contrast",
    "crop",
    "cutout",
    "draw",
    "draw_families",
    "flip",
    "parameters",
    "rotate",
    "saturation",
    "scale",
    "siamese",
]
