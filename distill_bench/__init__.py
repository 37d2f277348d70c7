"""distill_bench: one runner, one contract and one set of measures for seventeen papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """The product at `path`: its file, its folder, or the folder of a run that measured it.

    A `distill_bench.products.SyntheticSet` (images, labels, the transform back to pixels, `dataset()` for
    torch) or `ReducedMixtures`, its tensors on `device`. Needs no command line and no other file. Raises
    `distill_bench.errors.UserError`, one line, for what is missing, damaged, or of an earlier layout.
    """
    from distill_bench.products import load_product

    return load_product(path, device)
