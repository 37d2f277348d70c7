"""The picture of a selection by difficulty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_bench import reporting
from distill_bench.reporting.difficulty_figure import _shares


@pytest.mark.parametrize("quotas", [np.arange(10), None], ids=["with quotas", "without"])
def test_the_picture_shows_something_and_is_the_same_again(tmp_path: Path, quotas: np.ndarray | None) -> None:
    random = np.random.default_rng(0)
    raw, scaled = (
        {name: random.beta(a, 2.0, 100) for name in ("originals", "pool", "selection")} for a in (0.3, 1.0)
    )
    for name in ("one.png", "two.png"):
        reporting.draw_difficulty(tmp_path / name, raw, scaled, quotas)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_the_shares_drawn_sum_to_one_and_the_last_bin_is_closed() -> None:
    shares = _shares(np.array([0.0, 0.05, 0.5, 1.0]))
    assert shares.tolist() == [0.5, 0, 0, 0, 0, 0.25, 0, 0, 0, 0.25]
