"""Label smoothing: without any it is cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distill_bench.errors import UserError

RunCell = Callable[..., dict[str, Any]]
WORDS = ("dataset=digits", "student=mlp16", "recipe=digits", "profile=smoke")


def measures(result: dict[str, Any]) -> dict[str, float]:
    """The first value of each measure that has no facets."""
    return {m["name"]: m["values"][0] for m in result["measures"] if not m["facets"]}


def test_without_smoothing_it_is_cross_entropy_bit_for_bit(run_cell: RunCell) -> None:
    smooth = run_cell("method=label_smoothing", "method.smoothing=0", *WORDS)
    assert measures(smooth) == measures(run_cell("method=ce", *WORDS))
    assert measures(run_cell("method=label_smoothing", *WORDS)) != measures(smooth)


def test_it_makes_predictions_less_certain(run_cell: RunCell) -> None:
    words = [*WORDS[:-1], "profile=fast"]
    smooth, sharp = (measures(run_cell(f"method={name}", *words)) for name in ("label_smoothing", "ce"))
    assert smooth["separation"] < sharp["separation"]
    assert smooth["cmi"] < sharp["cmi"]


def test_a_smoothing_out_of_range_is_one_line(run_cell: RunCell) -> None:
    with pytest.raises(UserError, match=r"method\.smoothing=1\.0: must be in \[0, 1\)"):
        run_cell("method=label_smoothing", "method.smoothing=1", *WORDS)
