"""Normalisation by a mean and a standard deviation per channel, and the statistics of images.

Legend: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

__all__ = ["Normalise", "per_image_statistics", "pixel_statistics"]


class Normalise:
    r""":math:`(x / 255 - \mu_c) / \sigma_c` of uint8 images, and back.

    `mean` and `std` hold one value per channel, of values in [0, 1].
    """

    KIND = "normalise"

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
    ) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32, device=device).view(-1, 1, 1)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """uint8 images, on the device of the statistics -> float32."""
        return (images_NCHW.float() / 255).sub_(self.mean).div_(self.std)

    def forward_unit(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Floating-point images in [0, 1] -> float32; differentiable, and nothing is rounded."""
        return (images_NCHW - self.mean) / self.std

    def inverse(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """What `forward` gave -> values in [0, 1]; synthetic images may lie outside (nothing is clamped)."""
        return images_NCHW * self.std + self.mean

    def state(self) -> dict[str, torch.Tensor | list[float] | str]:
        """`kind`, `mean` and `std`, one number per channel; `transform_from` gives the transform back."""
        return {"kind": self.KIND, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}


def pixel_statistics(chunks: Iterable[torch.Tensor]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (ddof 0) per channel, in [0, 1], over all pixels of uint8 (n, C, H, W).

    Sums are exact: the result does not depend on how the images are cut into chunks.
    """
    count, sums = 0, []
    for chunk in chunks:
        values = chunk.transpose(0, 1).flatten(1).double()
        count += values.shape[1]
        sums.append(torch.stack([values.sum(1), values.square().sum(1)]))
    mean, square = torch.stack(sums).sum(0) / count
    std = (square - mean.square()).clamp_min(0).sqrt()
    return (mean / 255).tolist(), (std / 255).tolist()


def per_image_statistics(chunks: Iterable[torch.Tensor]) -> tuple[list[float], list[float]]:
    """Mean over images of each image's own mean and standard deviation (ddof 1) per channel, in [0, 1].

    The mean is that of `pixel_statistics`; the standard deviation is smaller, because it leaves out how
    images differ from one another.
    """
    means, stds = [], []
    for chunk in chunks:
        values = chunk.flatten(2).double() / 255
        means.append(values.mean(2))
        stds.append(values.std(2))
    return torch.cat(means).mean(0).tolist(), torch.cat(stds).mean(0).tolist()
