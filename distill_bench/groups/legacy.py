"""Enums of methods, on their way to them."""

from __future__ import annotations

from enum import Enum


class Distance(Enum):
    """How far the gradients of a class are apart."""

    ours = "ours"  # DC's: one minus cosine, for each output unit of each layer
    cosine = "cosine"  # one minus cosine of all parameters in one vector
    mse = "mse"  # squared distance of these vectors


class Init(Enum):
    """What the synthetic images are before the first step."""

    real = "real"  # random real images of the class
    noise = "noise"  # standard normal values
    herding = "herding"  # real images selected by herding
    kcenter = "kcenter"  # real images selected by k-center


class FeatureSource(Enum):
    """The features in which a coreset is selected."""

    trained = "trained"  # embeddings of the student trained on the whole training set
    random = "random"  # embeddings of the student as initialised
    pixels = "pixels"
