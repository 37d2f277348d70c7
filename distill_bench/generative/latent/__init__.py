"""Generators of images from a latent vector and a class: made here or read from a file, sampled in one
pass."""

from distill_bench.generative.latent.build import build_generator
from distill_bench.generative.latent.generator import (
    GeneratorShape,
    LatentGenerator,
    update_average_of,
    weights_digest,
)
from distill_bench.generative.latent.load import load_latent, read_latent, save_latent
from distill_bench.generative.latent.sampling import class_noise, draw_images

__all__ = [
    "GeneratorShape",
    "LatentGenerator",
    "build_generator",
    "class_noise",
    "draw_images",
    "load_latent",
    "read_latent",
    "save_latent",
    "update_average_of",
    "weights_digest",
]
