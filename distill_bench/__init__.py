"""distill_bench: one runner, one contract and one set of measures for many papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import torch

    from distill_bench.api import Result

__version__ = "0.1.0"
__all__ = ["__version__", "load", "results", "run"]


def load(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """The product at `path`: its file, its folder, or the folder of a run that measured it.

    A `distill_bench.products.SyntheticSet` (images, labels, the transform back to pixels, `dataset()` for
    torch) or `ReducedMixtures`, its tensors on `device`. Needs no command line and no other file. Raises
    `distill_bench.errors.UserError`, one line, for what is missing, damaged, or of an earlier layout.
    """
    from distill_bench.products import load_product

    return load_product(path, device)


def run(*words: str) -> Result:
    """Make and measure what the words of a command line say: ``run("method=dm", "dataset=digits", "ipc=1")``.

    Its measures, product, folder and record. See `distill_bench.api.run`.
    """
    from distill_bench.api import run as run_words

    return run_words(*words)


def results(root: Path | str = "runs", *, products_root: Path | str | None = None) -> pd.DataFrame:
    """Every value of every measure of all finished runs under `root`, a line each.

    See `distill_bench.api.results`.
    """
    from distill_bench.api import results as results_under

    return results_under(root, products_root=products_root)
