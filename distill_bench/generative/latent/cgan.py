"""A small conditional GAN: DCGAN's generator (Radford et al., ICLR 2016) with class-conditional batch norm,
and a projection discriminator with spectral norm (Miyato and Koyama, ICLR 2018). Sizes are our choice."""

from __future__ import annotations

from torch import Tensor, nn

from distill_bench.generative.latent.generator import GeneratorShape, LatentGenerator, one_hot
from distill_bench.generative.latent.layers import ConditionalNorm, ladder, normed

__all__ = ["Discriminator", "Generator"]


class Generator(LatentGenerator):
    """Transposed convolutions that double the side from 4 (or 5, 6, 7) pixels; widths halve, at most 8 x
    `width`."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__(shape)
        side, doublings = ladder(shape.resolution)
        widths = _widths(shape.width, doublings)
        self.first = nn.Sequential(
            nn.Linear(shape.noise, widths[0] * side**2), nn.Unflatten(1, (widths[0], side, side))
        )
        self.norms = nn.ModuleList(ConditionalNorm(width, shape.num_classes) for width in widths)
        outgoing = [*widths[1:], shape.channels]
        pairs = zip(widths, outgoing, strict=True)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(here, following, 4, 2, 1) for here, following in pairs)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        condition = one_hot(labels, self.shape.num_classes)
        x: Tensor = self.first(z)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(norm(x, condition).relu())
        return x.tanh()


class Discriminator(nn.Module):
    """How real (B,) images of these labels look: strided convolutions, then w.h + e_y.h of the pooled
    features h."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        _, doublings = ladder(shape.resolution)
        layers: list[nn.Module] = []
        here = shape.channels
        for following in reversed(_widths(shape.width, doublings)):
            layers += [normed(nn.Conv2d(here, following, 3, 1, 1)), nn.LeakyReLU(0.1)]
            layers += [normed(nn.Conv2d(following, following, 4, 2, 1)), nn.LeakyReLU(0.1)]
            here = following
        self.body = nn.Sequential(*layers)
        self.score = normed(nn.Linear(here, 1))
        self.classes = normed(nn.Embedding(shape.num_classes, here))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        pooled = self.body(images).sum((2, 3))
        score: Tensor = self.score(pooled)[:, 0] + (self.classes(labels) * pooled).sum(1)
        return score


def _widths(width: int, doublings: int) -> list[int]:
    """Channels of the maps from the smallest to half the images' size."""
    return [width * 2 ** min(3, doublings - 1 - i) for i in range(doublings)]
