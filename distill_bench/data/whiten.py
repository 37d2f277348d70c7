r"""ZCA whitening: images in which all pixels are nearly uncorrelated, with the least change.

Legend: N images, D = C * H * W values of an image.
"""

from __future__ import annotations

from functools import cached_property

import torch

from distill_bench.progress import progress_bar

__all__ = ["EPSILON", "Whiten", "fit_zca"]

EPSILON = 0.1  # added to every eigenvalue: the value that distillation papers use
CHUNK = 1024  # images whose products are summed at a time


class Whiten:
    r""":math:`(x / 255 - \mu) W` of flattened uint8 images, and back.

    :math:`W = U \operatorname{diag}((s + \epsilon)^{-1/2}) U^\top`.
    :math:`U \operatorname{diag}(s) U^\top` is the unbiased covariance of the flattened training images in
    [0, 1] (Kornia's convention, as recalled).
    The map is fitted once on the training images; test images go through the same map.
    `mean` (D,), `matrix` (D, D) and its `inverse_matrix` (D, D) are those of `fit_zca`. Without an
    `inverse_matrix`, the inverse of `matrix` is computed in float64 on the CPU when it is first needed.
    """

    KIND = "whiten"

    def __init__(
        self, mean: torch.Tensor, matrix: torch.Tensor, inverse_matrix: torch.Tensor | None = None
    ) -> None:
        self.mean, self.matrix = mean, matrix
        if inverse_matrix is not None:
            self.inverse_matrix = inverse_matrix

    @cached_property
    def inverse_matrix(self) -> torch.Tensor:
        """The inverse (D, D) of `matrix`, float32 on the same device."""
        return torch.linalg.inv(self.matrix.cpu().double()).float().to(self.matrix.device)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """uint8 images, on the device of the matrices -> float32 of the same shape."""
        return self.forward_unit(images_NCHW.float() / 255)

    def forward_unit(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Floating-point images in [0, 1] -> float32; differentiable, and nothing is rounded."""
        return ((images_NCHW.flatten(1) - self.mean) @ self.matrix).view(images_NCHW.shape)

    def inverse(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """What `forward` gave -> values in [0, 1]; synthetic images may lie outside (nothing is clamped)."""
        flat = images_NCHW.flatten(1)
        return (flat @ self.inverse_matrix + self.mean).view(images_NCHW.shape)

    def state(self) -> dict[str, torch.Tensor | list[float] | str]:
        """`kind`, `mean` (D,) and `matrix` (D, D), float32 on the CPU; `transform_from` gives the transform
        back. The inverse is left out: it is as large as the matrix, and follows from it.
        """
        return {"kind": self.KIND, "mean": self.mean.cpu(), "matrix": self.matrix.cpu()}


def fit_zca(images_NCHW: torch.Tensor, epsilon: float = EPSILON) -> dict[str, torch.Tensor]:
    """`mean`, `matrix` and `inverse_matrix` of `Whiten` for uint8 training images, float32 on the CPU.

    All is computed in double precision on the CPU, whatever the device, so that every machine whitens alike;
    sums of pixel products are exact. Beside the (D, D) matrices, memory holds `CHUNK` images as floats.
    """
    mean, covariance = _covariance(images_NCHW)
    eigenvalues, u = torch.linalg.eigh(covariance)
    roots = (eigenvalues.clamp_min_(0) + epsilon).sqrt()
    matrix, inverse = ((u * scale) @ u.T for scale in (1 / roots, roots))
    return {"mean": mean.float(), "matrix": matrix.float(), "inverse_matrix": inverse.float()}


def _covariance(images_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and unbiased covariance (D, D) of flattened images in [0, 1], in double precision."""
    count, size = len(images_NCHW), images_NCHW[0].numel()
    total, products = torch.zeros(size, dtype=torch.double), torch.zeros(size, size, dtype=torch.double)
    with progress_bar("zca", count) as bar:
        for start in range(0, count, CHUNK):
            values = images_NCHW[start : start + CHUNK].flatten(1).cpu().double()
            total += values.sum(0)
            products.addmm_(values.T, values)
            bar.update(start + len(values))
    mean = total / count
    covariance = products.addr_(mean, mean, alpha=-count).div_((count - 1) * 255**2)
    return mean / 255, covariance
