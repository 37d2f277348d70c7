"""What a run says before it starts."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from distill_bench.catalogue import method_files, method_module
from distill_bench.contract import Context, Work
from distill_bench.tasks.forecast import duration, forecast, lines

MakeContext = Callable[..., Context]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (40, "40 s"),
        (119, "119 s"),
        (600, "10 min"),
        (5000, "83 min"),
        (5400, "1.5 h"),
        (2e5, "2.3 days"),
    ],
)
def test_times_are_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_every_part_has_a_line_and_hours_on_a_cpu_are_warned_of() -> None:
    parts = [Work(name="distil", what="8 steps"), Work(name="evaluate", what="5 x convnet")]
    long = lines(parts, [7200.0, 60.0], "cpu", "paper")
    assert "8 steps" in long[1] and "2.0 h" in long[1]
    assert "60 s" in long[2]
    assert "in all about 2.0 h on cpu" in long[3]
    assert long[4].startswith("warning: profile=paper on a CPU")
    assert not any("warning" in line for line in lines(parts, [7200.0, 60.0], "cuda", "paper"))
    assert not any("warning" in line for line in lines(parts, [60.0, 60.0], "cpu", "fast"))


def test_a_papers_run_on_a_cpu_is_foretold_in_hours_and_a_smoke_run_not_at_all(context: MakeContext) -> None:
    words = ["method=dm", "dataset=digits", "ipc=10", "device=cpu"]
    dm = method_module("dm")
    ctx = context(*words)
    ctx.protocol.nets = 1000
    text = forecast(ctx, dm, dm.Config())
    assert "20000 steps x (2560 real + 100 synthetic) images" in text
    assert "warning: profile=paper on a CPU" in text
    assert forecast(context(*words, "profile=smoke"), dm, dm.Config(iterations=1)) == ""


def test_time_that_is_itself_the_budget_counts_as_it_is(context: MakeContext) -> None:
    ctx = context("method=dm", "dataset=digits", "profile=smoke")
    method: Any = SimpleNamespace(work=lambda _ctx, _cfg: [Work(name="prior", what="a U-Net", seconds=420.0)])
    text = forecast(ctx, method, None)
    assert "a U-Net" in text and "7 min" in text


def test_methods_that_take_long_say_what_they_will_do() -> None:
    instant = {"random", "herding", "kcenter"}
    for name in method_files():
        module = method_module(name)
        if module.INFO.task == "dataset_distillation":
            assert hasattr(module, "work") is (name not in instant), name
