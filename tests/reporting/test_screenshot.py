"""The report as a browser shows it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_bench.reporting import write_report
from tests.conftest import REPOSITORY
from tests.reporting import build

CHROMIUM = shutil.which("chromium")
WIDTH, HEIGHT = 1400, 2400
BETTER, WORSE, ACCENT = (0xA9, 0xCF, 0xF0), (0xF9, 0xC2, 0x8E), (0x0B, 0x5C, 0xAB)  # of the light style sheet

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-extensions",
)


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """A screenshot (H, W, 3) of a report with a number above and one below the paper's."""
    if CHROMIUM is None:
        pytest.skip("the browser is not installed (Debian's package chromium)")
    folder = tmp_path_factory.mktemp("screenshot")
    for method, value in (("dm", 30.0), ("random", 8.0), ("datadam", 31.0)):
        accuracy = build.measure("accuracy", value, value + 2, student="convnet")
        build.write(folder / "runs", build.content(method, build.images("cifar10", 1), [accuracy]))
    page = write_report(folder / "runs", folder / "results", folder / "report.html")
    picture = folder / "report.png"
    flags = [
        *FLAGS,
        "--blink-settings=preferredColorScheme=1",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--screenshot={picture}",
    ]
    done = subprocess.run(
        [CHROMIUM, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert picture.exists(), done.stderr[-2000:]
    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB"))


def test_nothing_scrolls_sideways_on_a_narrow_screen(tmp_path: Path) -> None:
    """The width of the page's content in a frame 400 pixels wide, with every section opened."""
    if CHROMIUM is None:
        pytest.skip("the browser is not installed (Debian's package chromium)")
    settings = {"generator.architecture": "a_long_name_without_any_break", "method.iterations": 67}
    cell = build.images("cifar10", 10, settings=settings)
    for method in ("dm", "a_method_with_a_name_that_is_much_longer_than_others"):
        content = build.content(method, cell, [build.measure("accuracy", 20.0, 21.0, student="convnet")])
        build.add_picture(tmp_path / "runs", content, np.zeros((10, 10, 3, 32, 32)), ["class"] * 10)
        content["provenance"]["command"] = "python run.py " + "method.value=1" * 20
        build.write(tmp_path / "runs", content)
    page = write_report(tmp_path / "runs", REPOSITORY / "results", tmp_path / "report.html").read_text()
    measure = (
        "<script>document.querySelectorAll('details').forEach(part => { part.open = true; });"
        "requestAnimationFrame(() => parent.postMessage(document.documentElement.scrollWidth, '*'))</script>"
    )
    (tmp_path / "inner.html").write_text(page.replace("</body>", f"{measure}</body>"))
    outer = tmp_path / "outer.html"
    outer.write_text(
        "<script>addEventListener('message', event => { document.title = `width ${event.data}`; })</script>"
        "<iframe src=inner.html width=400 height=800 style='border: 0'></iframe>"
    )
    flags = [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *flags, outer.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert "<title>width 400</title>" in done.stdout


def count(shot: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((shot == colour).all(-1).sum())


def test_the_page_is_as_wide_as_the_window(shot: np.ndarray) -> None:
    assert shot.shape == (HEIGHT, WIDTH, 3)


def test_the_page_is_not_blank(shot: np.ndarray) -> None:
    assert len(np.unique(shot.astype(int) @ [1, 256, 65536])) > 100
    top = shot[:100].mean(-1)
    assert (top < 80).sum() > 500, "the heading is dark on light"


def test_headings_are_underlined_in_the_accent_colour(shot: np.ndarray) -> None:
    assert count(shot, ACCENT) > WIDTH


def test_better_and_worse_gaps_have_their_colours(shot: np.ndarray) -> None:
    for colour in (BETTER, WORSE):
        legend_and_table = count(shot, colour)
        assert legend_and_table > 500, colour


def test_nothing_sticks_out_at_the_right(shot: np.ndarray) -> None:
    assert (shot[:, -20:] == shot[0, -1]).all()
