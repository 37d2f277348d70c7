"""One training step of each kind of generator, and the state that it changes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.generative.latent.architectures import LatentArchitecture
from distill_bench.generative.latent.cvae import negative_bound
from distill_bench.generative.latent.generator import LatentGenerator

__all__ = ["Adversarial", "Autoencoding", "objective"]


class Autoencoding:
    """Encoder and decoder together down the negative evidence bound, by Adam."""

    images_per_step = 1  # batches of real images that a step takes

    def __init__(
        self, generator: LatentGenerator, encoder: nn.Module, architecture: LatentArchitecture, lr: float
    ) -> None:
        self.generator, self.encoder, self.lr = generator.train(), encoder.train(), lr
        self.noise_variance = architecture.noise_variance
        parameters = [*generator.parameters(), *encoder.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=lr, betas=architecture.betas)
        self.state: dict[str, Any] = {"generator": generator, "encoder": encoder, "optimiser": self.optimiser}

    def step(
        self, batches: list[tuple[Tensor, Tensor]], draws: torch.Generator, anneal: float
    ) -> dict[str, Tensor]:
        """One step at the rate `anneal` x peak; returns the losses."""
        [(images, labels)] = batches
        mean, log_variance = self.encoder(images, labels)
        z = mean + (0.5 * log_variance).exp() * _normal(mean.shape, draws)
        loss = negative_bound(images, self.generator(z, labels), mean, log_variance, self.noise_variance)
        _descend(self.optimiser, loss, self.lr * anneal)
        return {"loss": loss.detach()}


class Adversarial:
    r"""The hinge form of a GAN (Lim and Ye, 2017; Miyato et al., ICLR 2018), by Adam.

    .. math:: L_D = E \max(0, 1 - D(x, y)) + E \max(0, 1 + D(G(z, y), y)), \quad L_G = -E D(G(z, y), y)
    """

    def __init__(
        self,
        generator: LatentGenerator,
        discriminator: nn.Module,
        architecture: LatentArchitecture,
        lr: float,
    ) -> None:
        self.generator, self.discriminator = generator.train(), discriminator.train()
        self.lr, self.lr_discriminator = lr, architecture.lr_discriminator * lr / architecture.lr
        self.images_per_step = architecture.discriminator_steps
        self.descend_g = torch.optim.Adam(generator.parameters(), lr=lr, betas=architecture.betas)
        self.descend_d = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=architecture.betas)
        self.state: dict[str, Any] = {
            "generator": generator,
            "discriminator": discriminator,
            "adam_g": self.descend_g,
            "adam_d": self.descend_d,
        }

    def step(
        self, batches: list[tuple[Tensor, Tensor]], draws: torch.Generator, anneal: float
    ) -> dict[str, Tensor]:
        """The discriminator's steps, one a batch, then the generator's; returns the last losses."""
        for images, labels in batches:
            with torch.no_grad():
                drawn = self._draw(labels, draws)
            scores = self.discriminator(torch.cat([images, drawn]), labels.repeat(2))
            real, fake = scores.chunk(2)
            loss_d = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            _descend(self.descend_d, loss_d, self.lr_discriminator * anneal)
        labels = batches[-1][1]
        self.discriminator.requires_grad_(False)
        loss_g = -self.discriminator(self._draw(labels, draws), labels).mean()
        _descend(self.descend_g, loss_g, self.lr * anneal)
        self.discriminator.requires_grad_(True)
        return {"loss_discriminator": loss_d.detach(), "loss_generator": loss_g.detach()}

    def _draw(self, labels: Tensor, draws: torch.Generator) -> Tensor:
        images: Tensor = self.generator(_normal((len(labels), self.generator.noise), draws), labels)
        return images


def objective(
    generator: LatentGenerator, companion: nn.Module, architecture: LatentArchitecture, lr: float
) -> Autoencoding | Adversarial:
    """The training of this kind of generator, at the peak rate `lr`."""
    kind = Autoencoding if architecture.kind == "cvae" else Adversarial
    return kind(generator, companion, architecture, lr)


def _normal(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=draws, device=draws.device)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
