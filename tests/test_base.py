"""Seeds, measures, error lines and the words of the command line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from distill_bench.errors import UserError, closest, require
from distill_bench.metrics import Measure, summarise
from distill_bench.overrides import quote_numbers
from distill_bench.seeding import derive, generator


def test_seeds_follow_from_seed_and_purpose_alone() -> None:
    assert derive(0, "init", 3) == derive(0, "init", 3)
    assert len({derive(s, p, i) for s in range(10) for p in ("a", "b") for i in range(50)}) == 1000
    draws = [torch.rand(4, generator=generator(1, "x", step)) for step in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_summary_keeps_seeds_and_networks_apart() -> None:
    values = [[60.0, 62.0, 61.0], [66.0, 65.0, 67.0], [70.0, 69.0, 71.0]]
    summary = summarise(values)
    flat = np.array(values).ravel()
    assert summary.mean == pytest.approx(flat.mean())
    assert summary.std == pytest.approx(flat.std(ddof=1))
    assert (summary.seeds, summary.repeats) == (3, 9)
    means = np.array(values).mean(1)
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    assert summary.interval == pytest.approx((high - low) / 2)


def test_the_interval_of_one_seed_is_over_its_networks_and_of_one_value_is_unknown() -> None:
    low, high = stats.t.interval(0.95, 2, 2.0, stats.sem([1.0, 2.0, 3.0]))
    assert summarise([[1.0, 2.0, 3.0]]).interval == pytest.approx((high - low) / 2)
    assert math.isnan(summarise([[1.0]]).interval)


@pytest.mark.parametrize(
    ("name", "values"),
    [("acuracy", [1.0]), ("accuracy", []), ("accuracy", [math.nan])],
    ids=["name", "none", "nan"],
)
def test_a_measure_outside_the_vocabulary_or_not_finite_is_refused(name: str, values: list[float]) -> None:
    with pytest.raises(ValueError, match="metric"):
        Measure(name=name, values=values)


def test_an_error_line_names_key_value_and_what_is_allowed() -> None:
    with pytest.raises(UserError, match=r"method\.power=0: must be >= 1"):
        require(False, "method.power", 0, ">= 1")
    assert closest("datadm", ["dm", "datadam"]).startswith("did you mean 'datadam'? ")
    assert closest("zzz", ["dm", "datadam"]) == "allowed: datadam, dm"


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("ipc=10", "ipc='10'"),
        ("ipc=1,10,50", "ipc='1','10','50'"),
        ("ipc='10'", "ipc='10'"),
        ("ipc.images_per_class=7", "ipc.images_per_class=7"),
        ("seed=0,1", "seed=0,1"),
        ("method.ipc=3", "method.ipc=3"),
    ],
)
def test_only_the_numbers_of_the_ipc_group_are_quoted(word: str, quoted: str) -> None:
    assert quote_numbers([word]) == [quoted]
