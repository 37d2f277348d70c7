"""A class-conditional diffusion model p(x | y), as samplers, guides and fine-tuning see it, whatever made
it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from distill_bench.generative.process import Prediction, predicted

__all__ = ["Prior"]


@dataclass(kw_only=True)
class Prior:
    """A denoising network with its forward process.

    network: takes (x_t, t, labels) with the network's own label ids, and predicts what `prediction` says,
    followed,
        with `learned_variance`, by as many channels for the variance.
    shape: (C, H, W) of what is diffused: pixels in [-1, 1], or latents. alpha_bars: (1000,) float32, on the
    device. label_ids: (K + 1,) the network's id of each class of the data set, and last of the null class.
    autoencoder: from and to pixels, for latents; None for a prior of pixels. images_per_pass: what goes
    through the network at once, so that maps stay in a CPU's cache: speed, not results.
    """

    network: nn.Module
    shape: tuple[int, int, int]
    alpha_bars: Tensor
    label_ids: Tensor
    prediction: Prediction = Prediction.v
    cfg_channels: int = 0
    learned_variance: bool = False
    autoencoder: Any = None
    images_per_pass: int | None = None

    @property
    def num_classes(self) -> int:
        """K, the classes of the data set."""
        return len(self.label_ids) - 1

    @property
    def null(self) -> int:
        """The label of the null class, K."""
        return self.num_classes

    @property
    def latent(self) -> bool:
        """Whether latents of an autoencoder are diffused."""
        return self.autoencoder is not None

    @cached_property
    def alpha_bars_list(self) -> list[float]:
        """`alpha_bars` on the host."""
        return self.alpha_bars.tolist()

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.alpha_bars.device

    def raw(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """The network's output in float32, for labels 0 .. K-1, or K for the null class."""
        size = self.images_per_pass or len(x_t)
        parts = zip(x_t.split(size), t.split(size), self.label_ids[labels].split(size), strict=True)
        return torch.cat([self.network(*part).float() for part in parts])

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor, w: float = 1.0) -> tuple[Tensor, Tensor]:
        """(x0h, eps) at x_t (B, C, H, W), times t (B,), with classifier-free guidance of weight w;
        differentiable.

        .. math:: e = e_u + w (e_c - e_u)

        w = 1 is conditional and asks the network once per image, w = 0 is unconditional. Only the first
        `cfg_channels` channels are guided, if that is not 0.
        """
        return self.predict_with_variance(x_t, t, labels, w)[:2]

    def predict_with_variance(
        self, x_t: Tensor, t: Tensor, labels: Tensor, w: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As `predict`, and the network's output for the variance (of the conditional branch), if it has
        one."""
        null = torch.full_like(labels, self.null)
        if w in (0.0, 1.0):
            output = self.raw(x_t, t, labels if w else null)
        else:
            both = self.raw(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([labels, null]))
            conditional, unconditional = both.chunk(2)
            output = self._guided(conditional, unconditional, w)
        channels = x_t.shape[1]
        variance = output[:, channels:] if self.learned_variance else None
        alpha_bar = self.alpha_bars[t].view(-1, 1, 1, 1)
        return *predicted(self.prediction, output[:, :channels], x_t, alpha_bar), variance

    def _guided(self, conditional: Tensor, unconditional: Tensor, w: float) -> Tensor:
        """Guidance is affine, so it is the same in eps and in v."""
        channels = self.cfg_channels or self.shape[0]
        guided = torch.lerp(unconditional[:, :channels], conditional[:, :channels], w)
        return torch.cat([guided, conditional[:, channels:]], dim=1)

    def to_pixels(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] (not clamped) of what is diffused; differentiable."""
        return x if self.autoencoder is None else self.autoencoder.decode(x)

    def from_pixels(self, images: Tensor) -> Tensor:
        """What is diffused, of images in [-1, 1]; the mean of an autoencoder's posterior."""
        return images if self.autoencoder is None else self.autoencoder.encode(images)
