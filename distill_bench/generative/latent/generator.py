"""The face of every latent-variable generator, and what is done to one as a whole.

Axes: B images, C channels, H x W pixels, D values of a latent vector.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from distill_bench.generative.average import update_average, warm_decay

__all__ = ["GeneratorShape", "LatentGenerator", "update_average_of", "weights_digest"]


@dataclass(frozen=True, kw_only=True)
class GeneratorShape:
    """What a generator is built from; a file of weights holds it, so that the file is enough."""

    kind: str  # cvae | cgan | biggan
    noise: int  # D, values of a latent vector
    width: int  # channels of the last block (hidden units of a perceptron)
    num_classes: int
    channels: int
    resolution: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.resolution, self.resolution

    def __str__(self) -> str:
        channels, side, _ = self.image_shape
        return f"a {self.kind} of {self.num_classes} classes and {channels} x {side} x {side} images"


class LatentGenerator(nn.Module):
    """`forward(z, labels)`: latent vectors (B, D), standard normal, and labels (B,) to images (B, C, H, W) in
    [-1, 1].

    In evaluation mode an image depends on its own vector and label alone.
    """

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape = shape
        self.noise = shape.noise


@torch.no_grad()
def update_average_of(average: nn.Module, net: nn.Module, step: int, decay: float) -> None:
    """Update the network `average`: its parameters are the running mean of those of `net` (see `warm_decay`).

    Its buffers (running statistics, singular vectors) are those of `net`.
    """
    update_average(average.parameters(), net.parameters(), warm_decay(decay, step))
    for target, source in zip(average.buffers(), net.buffers(), strict=True):
        target.copy_(source)


def weights_digest(generator: LatentGenerator) -> str:
    """SHA-256 over the shape and the bytes of every parameter and buffer: what the generator draws follows
    from it."""
    total = hashlib.sha256(str(sorted(asdict(generator.shape).items())).encode())
    for name, value in sorted(generator.state_dict().items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """(B,) -> (B, K), float."""
    return nn.functional.one_hot(labels, num_classes).float()
