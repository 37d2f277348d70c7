"""Enums of methods, on their way to them."""

from __future__ import annotations

from enum import Enum


class Centroid(Enum):
    """The distribution from which a class's predictions are to differ."""

    synthetic = (
        "synthetic"  # that of the set being made: the term is the set's conditional mutual information
    )
    real = (
        "real"  # that of real images: an upper bound of the above, which can be raised at the cost of labels
    )
    mixture = "mixture"  # the mean of both


class Gradient(Enum):
    """How the reward's gradient reaches x_t."""

    shrunk = "shrunk"  # stopped at x0h; the denoiser's Jacobian as for an isotropic Gaussian prior
    naive = "naive"  # stopped at x0h, over sqrt(ab): overshoots at high noise
    exact = "exact"  # through the denoiser
