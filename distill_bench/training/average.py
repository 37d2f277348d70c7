"""The running mean of weights and of what else a network has learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Average"]


class Average:
    r"""The exponential moving average of `values`, from where they are when it is made:

    .. math:: a_0 = w_0, \quad a_s = d\, a_{s-1} + (1 - d)\, w_s

    with the decay d in (0, 1). Counts (integers) are those of the last step. `state` holds what an update
    changes, in place.
    """

    def __init__(self, values: Sequence[Tensor], decay: float) -> None:
        self.values, self.decay = list(values), decay
        self.averages = [value.detach().clone() for value in self.values]
        self.state = {f"average {i}": average for i, average in enumerate(self.averages)}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the values after a step."""
        for average, value in zip(self.averages, self.values, strict=True):
            if value.is_floating_point():
                average.lerp_(value, 1 - self.decay)
            else:
                average.copy_(value)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the values and their averages, in place."""
        for average, value in zip(self.averages, self.values, strict=True):
            held = value.clone()
            value.copy_(average)
            average.copy_(held)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The averages in place of the values while inside."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
