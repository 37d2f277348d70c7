"""West's rule: the least important component is merged with its nearest neighbour."""

from __future__ import annotations

import torch

from distill_bench.mixtures.greedy import Slots

__all__ = ["LeastImportant"]


class LeastImportant:
    r"""Takes the component with the smallest :math:`w_i / \operatorname{tr} S_i` and merges it with the j of
    the smallest :math:`(\mu_j - \mu_i)' S_i^{-1} (\mu_j - \mu_i)`.

    West (J. R. Statist. Soc. B, 1993) takes the smallest weight; the trace is the modified form that the
    later literature compares with, as recalled.
    """

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def choose(self) -> tuple[int, int]:
        """The least important component and its nearest neighbour, in order."""
        c, used = self.slots.components, self.slots.used
        trace = c.covariances.diagonal(dim1=0, dim2=1).sum(1)
        least = torch.where(used, c.log_weights - trace.log(), torch.inf).argmin()
        factor = torch.linalg.cholesky(c.covariances[..., least])
        apart = torch.linalg.solve_triangular(factor, c.means - c.means[:, least, None], upper=False)
        squared = torch.where(used, apart.square().sum(0), torch.inf)
        squared[least] = torch.inf
        i, j = sorted((int(least), int(squared.argmin())))
        return i, j

    def merge(self, i: int, j: int) -> None:
        """Merge slots i < j; nothing is kept between steps."""
        self.slots.merge(i, j)

    def compact(self) -> None:
        """Compact the slots."""
        self.slots.compact()
