"""Seeds, measures, progress and the resumable loop."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats

from distill_bench.contract import Context
from distill_bench.errors import UserError, closest, require
from distill_bench.interrupt import Interrupt, Interrupted
from distill_bench.metrics import Measure, summarise
from distill_bench.overrides import quote_numbers
from distill_bench.seeding import derive, generator
from distill_bench.store import RunFolder
from distill_bench.tracking import Tracker


def loop_context(root: Path) -> Context:
    """A context that can only loop, saving after every step."""
    folder = RunFolder(root, "run")
    folder.path.mkdir(exist_ok=True)
    parts = SimpleNamespace(
        folder=folder,
        tracker=Tracker(folder.path),
        interrupt=Interrupt(),
        checkpoint_seconds=0.0,
        log_every=1,
    )
    for name in ("loop", "log"):
        setattr(parts, name, getattr(Context, name).__get__(parts))
    return cast(Context, parts)


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


def walk(ctx: Context, stop_after: int | None = None) -> dict[str, Any]:
    """A loop whose state depends on every step."""
    weights = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
    state: dict[str, Any] = {
        "weights": weights,
        "optimiser": optimiser,
        "seen": torch.zeros((), dtype=torch.long),
    }
    for step in ctx.loop("walk", 20, state):
        target = torch.randn(3, generator=generator(0, "walk", step))
        optimiser.zero_grad()
        (weights - target).square().sum().backward()
        optimiser.step()
        state["seen"] += 1
        ctx.log("walk", step, loss=weights.sum().detach())
        if step == stop_after:
            ctx.interrupt.requested = True
    return state


@pytest.mark.parametrize("stop", [0, 7, 18])
def test_a_loop_that_was_interrupted_resumes_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = walk(loop_context(tmp_path / "whole"))
    with pytest.raises(Interrupted, match=f"walk {stop + 1}/20"):
        walk(loop_context(tmp_path / "parts"), stop_after=stop)
    resumed_context = loop_context(tmp_path / "parts")
    resumed = walk(resumed_context)
    assert torch.equal(whole["weights"], resumed["weights"])
    assert resumed["seen"] == 20
    assert [point["step"] for point in resumed_context.tracker.points()] == list(range(20))


def test_a_loop_that_ended_is_not_walked_again(tmp_path: Path) -> None:
    walk(loop_context(tmp_path))
    again = walk(loop_context(tmp_path), stop_after=0)
    assert again["seen"] == 20


def test_curves_survive_a_line_cut_off_by_a_kill(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log("a", 0, {"loss": 1.0})
    tracker.log("b", 5, {"loss": 2.0})
    with tracker.path.open("a") as file:
        file.write('{"phase": "a", "st')
    tracker.rewind("a", 0)
    tracker.log("a", 0, {"loss": 3.0})
    assert tracker.points() == [
        {"phase": "b", "step": 5, "loss": 2.0},
        {"phase": "a", "step": 0, "loss": 3.0},
    ]


def test_a_value_that_is_not_finite_stops_the_run_and_says_where(tmp_path: Path) -> None:
    ctx = loop_context(tmp_path)
    with pytest.raises(UserError, match=r"distil step 3: loss=nan: the run diverged"):
        ctx.log("distil", 3, loss=torch.tensor(math.nan))
    assert not ctx.tracker.points()


def test_a_state_that_is_not_finite_is_not_kept_and_the_last_good_one_is(tmp_path: Path) -> None:
    ctx = loop_context(tmp_path)
    ctx.checkpoint_seconds = 0
    values = torch.zeros(3)
    with pytest.raises(
        UserError, match=r"distil step 6: its state is not finite.*the last good state is that of step 5"
    ):
        for step in ctx.loop("distil", 20, {"values": values}):
            values += 1.0 if step < 5 else math.nan
    saved = ctx.folder.load_checkpoint("distil")
    assert saved is not None
    assert saved[0] == 5 and saved[1]["values"].tolist() == [5.0] * 3


def test_a_loop_that_ends_in_values_that_are_not_finite_is_an_error_though_nothing_was_logged(
    tmp_path: Path,
) -> None:
    ctx = loop_context(tmp_path)
    values = torch.zeros(3)
    with pytest.raises(UserError, match="not finite"):
        for _ in ctx.loop("distil", 2, {"values": values}):
            values /= 0
