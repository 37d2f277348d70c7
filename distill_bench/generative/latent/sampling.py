"""Images drawn from a generator, each from a latent vector of its own place."""

from __future__ import annotations

import torch

from distill_bench.generative.latent.generator import LatentGenerator
from distill_bench.seeding import generator as seeded

__all__ = ["class_noise", "draw_images"]


def class_noise(seed: int, num_classes: int, count: int, size: int) -> torch.Tensor:
    """Latent vectors (K, M, D) on the CPU, standard normal; that of image j of class k follows from (seed, k,
    j) alone.

    So the vectors for fewer images of a class are the first of those for more.
    """
    rows = [
        torch.stack([torch.randn(size, generator=seeded(seed, "latent", k, j)) for j in range(count)])
        for k in range(num_classes)
    ]
    return torch.stack(rows)


@torch.no_grad()
def draw_images(generator: LatentGenerator, noise_KMD: torch.Tensor, batch: int) -> torch.Tensor:
    """Images (K, M, C, H, W) in [-1, 1] of every class, `batch` at a time, on the generator's device."""
    num_classes, count, _ = noise_KMD.shape
    device = next(generator.parameters()).device
    labels = torch.arange(num_classes, device=device).repeat_interleave(count)
    pieces = zip(noise_KMD.to(device).flatten(0, 1).split(batch), labels.split(batch), strict=True)
    images = torch.cat([generator(z, y) for z, y in pieces])
    return images.unflatten(0, (num_classes, count))
