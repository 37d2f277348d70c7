"""The face of every latent-variable generator, and what is done to one as a whole.

Axes: B images, C channels, H x W pixels, D values of a latent vector.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

__all__ = ["LatentGenerator", "Recipe", "update_average", "weights_digest"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a generator is built from; a file of weights holds it, so that the file is enough."""

    kind: str  # cvae | cgan | biggan
    noise: int  # D, values of a latent vector
    width: int  # channels of the last block (hidden units of a perceptron)
    num_classes: int
    channels: int
    resolution: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.resolution, self.resolution

    def __str__(self) -> str:
        channels, side, _ = self.shape
        return f"a {self.kind} of {self.num_classes} classes and {channels} x {side} x {side} images"


class LatentGenerator(nn.Module):
    """`forward(z, labels)`: latent vectors (B, D), standard normal, and labels (B,) to images (B, C, H, W) in
    [-1, 1].

    In evaluation mode an image depends on its own vector and label alone.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.noise = recipe.noise


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, step: int, decay: float) -> None:
    r"""One step of the moving average of the parameters: :math:`\bar\phi \leftarrow d \bar\phi + (1 - d)
    \phi`.

    d = min(`decay`, (1 + step) / (10 + step)), so that a short training is averaged over its own end: our
    choice. Buffers (running statistics, singular vectors) are those of `net`.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), weight)
    for mine, theirs in zip(average.buffers(), net.buffers(), strict=True):
        mine.copy_(theirs)


def weights_digest(generator: LatentGenerator) -> str:
    """SHA-256 over the recipe and the bytes of every parameter and buffer: what the generator draws follows
    from it."""
    total = hashlib.sha256(str(sorted(asdict(generator.recipe).items())).encode())
    for name, value in sorted(generator.state_dict().items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """(B,) -> (B, K), float."""
    return nn.functional.one_hot(labels, num_classes).float()
