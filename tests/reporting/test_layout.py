"""Which lines of a table lead: those that the noise does not tell apart from the best."""

from __future__ import annotations

from typing import Any

import pytest

from distill_bench.reporting import Row
from distill_bench.reporting.layout import leading, pivots


def row(mean: float, interval: float | None = 1.0, seeds: int = 3, **more: Any) -> Row:
    fixed = {"method": "m", "axes": {"dataset": "x", "ipc": 1}, "metric": "accuracy", "profile": "fast"}
    return Row(mean=mean, interval=interval, seeds=seeds, repeats=3 * seeds, **{**fixed, **more})


@pytest.mark.parametrize(
    ("rivals", "leaders"),
    [
        pytest.param({"a": row(80), "b": row(70)}, "a", id="one is ahead"),
        pytest.param({"a": row(80), "b": row(78.5), "c": row(70)}, "ab", id="two overlap"),
        pytest.param({"a": row(80), "b": row(78.5)}, "", id="nobody is behind"),
        pytest.param({"a": row(80, seeds=2), "b": row(10)}, "", id="the best has two repeats"),
        pytest.param({"a": row(80), "b": row(78.5, None, seeds=1), "c": row(70)}, "ab", id="one run is near"),
        pytest.param({"a": row(80), "b": row(70, None, seeds=1)}, "a", id="one run is far"),
        pytest.param({"a": row(80, profile="smoke"), "b": row(10, profile="smoke")}, "", id="smoke"),
        pytest.param({"a": row(0.1, 0.01, metric="ise"), "b": row(0.3, 0.01, metric="ise")}, "a", id="error"),
        pytest.param({"a": row(1, metric="cmi"), "b": row(9, metric="cmi")}, "", id="no better side"),
        pytest.param({"a": row(80)}, "", id="alone"),
    ],
)
def test_what_leads_is_what_the_intervals_do_not_tell_apart(rivals: dict[str, Row], leaders: str) -> None:
    assert leading(rivals) == frozenset(leaders)


def test_a_block_says_the_size_of_its_evaluation_and_whether_it_means_anything() -> None:
    (block,) = pivots([row(10, profile="smoke", size="convnet of width 8, E = 4")])
    assert block.title == "x · profile smoke" or block.title.startswith("x")
    assert block.remarks[0] == "convnet of width 8, E = 4"
    assert "mean nothing" in block.remarks[1]
    (block,) = pivots([row(10)])
    assert block.remarks == []
