"""BigGAN's residual generator and discriminator (Brock et al., ICLR 2019) for 32, 64 and 128 pixels.

As recalled from the paper: the latent vector in chunks, one for the first layer and one for each block, each
joined with a shared class embedding into the condition of that block's norms; spectral norm in both networks;
projection discriminator; self-attention at half of 128 and of 64 pixels. Widths at 32 pixels follow the
custom for CIFAR.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.errors import require
from distill_bench.generative.latent.generator import GeneratorShape, LatentGenerator
from distill_bench.generative.latent.layers import ConditionalNorm, normed

__all__ = ["Discriminator", "Generator"]

EMBEDDING = 128  # values of the class embedding that all blocks share
SMALLEST = 4  # pixels a side of the first map

# multiples of the width: maps of the generator from the first, and outputs of the discriminator's blocks
GENERATOR = {32: (4, 4, 4, 4), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}
DISCRIMINATOR = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16)}
HALVINGS = {32: 2, 64: 4, 128: 5}  # blocks of the discriminator that halve the map
ATTENTION = {64: 32, 128: 64}  # side of the maps that attend to themselves


class Generator(LatentGenerator):
    """A linear layer to 4 x 4, residual blocks that double the side, norm, ReLU, convolution, tanh."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__(shape)
        widths = [shape.width * factor for factor in _for(GENERATOR, shape.resolution)]
        chunks = len(widths)
        require(
            shape.noise % chunks == 0, "noise", shape.noise, f"a multiple of {chunks}, the chunks of BigGAN"
        )
        self.chunk = shape.noise // chunks
        self.classes = nn.Embedding(shape.num_classes, EMBEDDING)
        self.first = normed(_orthogonal(nn.Linear(self.chunk, widths[0] * SMALLEST**2)))
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for i, (here, following) in enumerate(itertools.pairwise(widths)):
            self.blocks.append(_UpBlock(here, following, self.chunk + EMBEDDING))
            if SMALLEST * 2 ** (i + 1) == ATTENTION.get(shape.resolution):
                self.attention[str(i)] = _Attention(following)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = normed(_orthogonal(nn.Conv2d(widths[-1], shape.channels, 3, padding=1)))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        first, *chunks = z.split(self.chunk, dim=1)
        embedded = self.classes(labels)
        x: Tensor = self.first(first).unflatten(1, (-1, SMALLEST, SMALLEST))
        for i, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            x = block(x, torch.cat([embedded, chunk], dim=1))
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
        images: Tensor = self.last(self.norm(x).relu()).tanh()
        return images


class Discriminator(nn.Module):
    """How real (B,) images of these labels look."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        widths = [shape.width * factor for factor in _for(DISCRIMINATOR, shape.resolution)]
        halvings, side = HALVINGS[shape.resolution], shape.resolution
        layers: list[nn.Module] = []
        here = shape.channels
        for i, following in enumerate(widths):
            layers.append(_DownBlock(here, following, halve=i < halvings, first=i == 0))
            here, side = following, side // 2 if i < halvings else side
            if side == ATTENTION.get(shape.resolution):
                layers.append(_Attention(following))
        self.body = nn.Sequential(*layers, nn.ReLU())
        self.score = normed(_orthogonal(nn.Linear(here, 1)))
        self.classes = normed(_orthogonal(nn.Embedding(shape.num_classes, here)))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        pooled = self.body(images).sum((2, 3))
        score: Tensor = self.score(pooled)[:, 0] + (self.classes(labels) * pooled).sum(1)
        return score


class _UpBlock(nn.Module):
    """Norm, ReLU, double, convolve, norm, ReLU, convolve; the short way doubles and convolves 1 x 1."""

    def __init__(self, incoming: int, outgoing: int, condition: int) -> None:
        super().__init__()
        self.norm1 = ConditionalNorm(incoming, condition, spectral=True)
        self.norm2 = ConditionalNorm(outgoing, condition, spectral=True)
        self.conv1 = normed(_orthogonal(nn.Conv2d(incoming, outgoing, 3, padding=1)))
        self.conv2 = normed(_orthogonal(nn.Conv2d(outgoing, outgoing, 3, padding=1)))
        self.short = normed(_orthogonal(nn.Conv2d(incoming, outgoing, 1)))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = F.interpolate(self.norm1(x, condition).relu(), scale_factor=2.0)
        y = self.conv2(self.norm2(self.conv1(y), condition).relu())
        long: Tensor = y + F.interpolate(self.short(x), scale_factor=2.0)
        return long


class _DownBlock(nn.Module):
    """ReLU, convolve, ReLU, convolve, halve; the first block of all has no ReLU before its convolution."""

    def __init__(self, incoming: int, outgoing: int, *, halve: bool, first: bool) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1 = normed(_orthogonal(nn.Conv2d(incoming, outgoing, 3, padding=1)))
        self.conv2 = normed(_orthogonal(nn.Conv2d(outgoing, outgoing, 3, padding=1)))
        needed = incoming != outgoing or halve
        self.short = normed(_orthogonal(nn.Conv2d(incoming, outgoing, 1))) if needed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x if self.first else x.relu()).relu())
        y = y + self.short(x)
        return F.avg_pool2d(y, 2) if self.halve else y


class _Attention(nn.Module):
    """Self-attention over positions (Zhang et al., ICML 2019), added with a weight that starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, values = max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = (normed(nn.Conv2d(channels, inner, 1, bias=False)) for _ in range(2))
        self.value = normed(nn.Conv2d(channels, values, 1, bias=False))
        self.out = normed(nn.Conv2d(values, channels, 1, bias=False))
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)
        key, value = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.key, self.value))
        share = torch.einsum("bcn,bcm->bnm", query, key).softmax(2)
        gathered = torch.einsum("bnm,bcm->bcn", share, value).unflatten(2, x.shape[2:])
        attended: Tensor = x + self.weight * self.out(gathered)
        return attended


def _orthogonal(layer: nn.Module) -> nn.Module:
    nn.init.orthogonal_(layer.weight)  # type: ignore[arg-type]
    return layer


def _for(table: dict[int, tuple[int, ...]], resolution: int) -> tuple[int, ...]:
    require(resolution in table, "dataset.resolution", resolution, "32, 64 or 128 for generator=biggan")
    return table[resolution]
