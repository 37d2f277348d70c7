r"""A conditional variational autoencoder (Kingma and Welling, ICLR 2014; Sohn et al., NIPS 2015): its decoder
draws.

Small images (below 16 pixels a side) go through perceptrons, larger ones through strided convolutions.
Architecture and sizes are our choice, for pre-training in minutes on a CPU.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from distill_bench.generative.latent.generator import GeneratorShape, LatentGenerator, one_hot
from distill_bench.generative.latent.layers import ladder

__all__ = ["Decoder", "Encoder", "negative_bound"]

SMALLEST_CONVOLVED = 16  # pixels a side


class Decoder(LatentGenerator):
    """p(x | z, y): the mean of the images; class and latent vector enter together."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__(shape)
        incoming, width = shape.noise + shape.num_classes, shape.width
        if shape.resolution < SMALLEST_CONVOLVED:
            size = shape.channels * shape.resolution**2
            self.body = nn.Sequential(
                nn.Linear(incoming, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, size),
                nn.Tanh(),
                nn.Unflatten(1, shape.image_shape),
            )
            return
        side, doublings = ladder(shape.resolution)
        widths = _widths(width, doublings)
        first = [nn.Linear(incoming, widths[0] * side**2), nn.Unflatten(1, (widths[0], side, side))]
        layers: list[nn.Module] = [*first, nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for here, following in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(here, following, 4, 2, 1), nn.BatchNorm2d(following), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], shape.channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.body(torch.cat([z, one_hot(labels, self.shape.num_classes)], dim=1))
        return images


class Encoder(nn.Module):
    """q(z | x, y): mean and log variance of the latent vector, (B, D) each."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        if shape.resolution < SMALLEST_CONVOLVED:
            size = shape.channels * shape.resolution**2
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU())
        else:
            side, doublings = ladder(shape.resolution)
            layers: list[nn.Module] = []
            here = shape.channels
            for following in reversed(_widths(width, doublings)):
                layers += [nn.Conv2d(here, following, 4, 2, 1), nn.BatchNorm2d(following), nn.ReLU()]
                here = following
            size, width = 0, here * side**2
            self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(width + shape.num_classes, 2 * shape.noise)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        code = torch.cat([self.body(images), one_hot(labels, self.shape.num_classes)], dim=1)
        mean, log_variance = self.head(code).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


def negative_bound(
    images: Tensor, drawn: Tensor, mean: Tensor, log_variance: Tensor, noise_variance: float
) -> Tensor:
    r"""The negative evidence bound per pixel, up to a constant, with Gaussian noise on the pixels.

    .. math:: \frac{1}{2 \sigma^2} \overline{(x - \hat x)^2}
        + \frac{1}{n} \operatorname{KL}(q(z|x,y) \| N(0, I))

    n pixels an image. A large :math:`\sigma^2` leaves little in the latent vector: blurred images, whose
    class is clear. A small one gives sharp reconstructions and draws of no class, as codes then fill little
    of the prior.
    """
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return (images - drawn).square().mean() / (2 * noise_variance) + divergence / images[0].numel()


def _widths(width: int, doublings: int) -> list[int]:
    """Channels of the maps from the smallest to half the images' size."""
    return [width * 2 ** min(2, doublings - 1 - i) for i in range(doublings)]
