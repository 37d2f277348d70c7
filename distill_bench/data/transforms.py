"""A transform as plain values, and back: how a product carries its own way to pixels and from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from distill_bench.data.normalise import Normalise
from distill_bench.data.whiten import Whiten

__all__ = ["transform_from"]


def transform_from(state: Mapping[str, Any], device: torch.device | str = "cpu") -> Normalise | Whiten:
    """The transform whose `state()` is given, on `device`; its `forward` gives the same bits.

    ValueError for a state of neither kind.
    """
    kind = state.get("kind")
    if kind == Normalise.KIND:
        return Normalise(state["mean"], state["std"], device)
    if kind == Whiten.KIND:
        return Whiten(state["mean"].to(device), state["matrix"].to(device))
    raise ValueError(f"a transform of kind {kind!r}; must be {Normalise.KIND!r} or {Whiten.KIND!r}")
