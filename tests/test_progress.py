"""Progress in a log: few lines, and an estimate of all that is left of a phase."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from distill_bench import progress
from distill_bench.progress import Bar, Phase, progress_bar


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Seconds -> the clock goes on by them; standard error is no terminal."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def count(bar: Bar, steps: int, tick: Callable[[float], None], start: int = 0) -> None:
    for step in range(start, steps):
        tick(1.0)
        bar.update(step + 1)


def test_five_networks_are_one_phase_with_one_estimate(
    tick: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    phase = Phase("students", 5)
    for _ in range(5):
        with phase.part(1, 100) as bar:
            count(bar, 100, tick)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "students 4/500, 1.0 steps/s, about 8 min left"
    assert len(lines) == 4  # after 4, 64, 184 and 424 s: where each network told its own, 20
    assert all(line.startswith("students ") for line in lines)


def test_networks_trained_together_count_as_all_of_them(
    tick: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Phase("students", 5).part(5, 10) as bar:
        count(bar, 10, tick)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("students 20/50, ")
    assert line.endswith("about 6 s left")


def test_what_was_done_before_a_stop_does_not_count_as_pace(
    tick: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    phase = Phase("students", 3)
    with phase.part(1, 100, 100):
        pass
    with phase.part(1, 100, 90) as bar:
        count(bar, 100, tick, 90)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "students 194/300, 1.0 steps/s, about 106 s left"


def test_a_long_loop_says_ever_less(
    tick: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("distil", 7200) as bar:
        count(bar, 7200, tick)
    lines = capsys.readouterr().err.splitlines()
    assert re.match(r"distil 4/7200, .* about 2.0 h left", lines[0])
    assert len(lines) <= 15


def test_a_phase_names_the_network_that_is_trained() -> None:
    phase = Phase("students", 5)
    assert (phase.title(5), phase.title(1)) == ("students", "students 1/5")
