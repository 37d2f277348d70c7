"""Figures: what is in the picture is what was given, and the same input gives the same file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_bench.reporting import (
    accuracy_against_ipc,
    curves,
    error_against_components,
    image_grid,
    read_reference,
    read_results,
    reference_folder,
)
from distill_bench.reporting.grids import _title
from distill_bench.reporting.size_figure import _legend, _panels
from distill_bench.reporting.table import rows
from tests.reporting import build


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def bands(flags: np.ndarray) -> int:
    """Runs of true values."""
    return int(flags[0]) + int((~flags[:-1] & flags[1:]).sum())


def grid(path: Path, images: np.ndarray) -> np.ndarray:
    image_grid(path, images, [f"name {i}" for i in range(len(images))])
    return opened(path)


@pytest.mark.parametrize(
    ("classes", "each", "rows", "columns"),
    [(3, 10, 3, 10), (10, 10, 10, 10), (200, 50, 20, 10), (1, 1, 1, 1), (12, 5, 12, 5)],
)
def test_a_grid_has_a_row_for_each_class_up_to_twenty_of_ten(
    tmp_path: Path, classes: int, each: int, rows: int, columns: int
) -> None:
    red = np.zeros((classes, each, 3, 8, 8))
    red[:, :, 0] = 1
    picture = grid(tmp_path / "grid.png", red)
    pure = (picture == (255, 0, 0)).all(-1)
    lines = bands(pure.any(1))
    across = bands(pure.any(0))
    assert lines * across == rows * columns
    assert lines <= rows


def test_a_pixel_of_an_image_is_a_square_of_the_picture(tmp_path: Path) -> None:
    pixels = np.zeros((1, 1, 3, 8, 8))
    pixels[:, :, 0] = 1
    pixels[0, 0, :, 2, 5] = (0, 1, 0)
    picture = grid(tmp_path / "grid.png", pixels)
    ys, xs = np.nonzero((picture == (0, 255, 0)).all(-1))
    reds_y, reds_x = np.nonzero((picture == (255, 0, 0)).all(-1))
    side = xs.max() - xs.min() + 1
    assert len(xs) == side * side == 36
    assert ((ys.min() - reds_y.min()) // side, (xs.min() - reds_x.min()) // side) == (2, 5)


def test_grey_images_are_grey(tmp_path: Path) -> None:
    picture = grid(tmp_path / "grid.png", np.full((2, 2, 1, 28, 28), 0.4))
    smooth_letters = 50
    assert 4 * 56 * 56 <= ((picture == 102).all(-1)).sum() <= 4 * 56 * 56 + smooth_letters


def test_images_that_are_large_are_reduced(tmp_path: Path) -> None:
    picture = grid(tmp_path / "grid.png", np.zeros((2, 3, 3, 256, 256)))
    assert picture.shape[1] < 3 * 256


@pytest.mark.parametrize(
    ("shape", "title"),
    [
        ((10, 1, 1, 8, 8), "10 classes, 1 image each"),
        ((200, 50, 3, 8, 8), "first 20 of 200 classes, first 10 of 50 images each"),
    ],
)
def test_a_grid_says_when_there_is_more(shape: tuple[int, ...], title: str) -> None:
    images = np.zeros(shape)
    assert _title(images, images[:20, :10]) == title


@pytest.mark.parametrize(
    "shape", [(4, 3, 8, 8), (2, 2, 2, 8, 8), (2, 0, 3, 8, 8)], ids=["4 axes", "2 channels", "none"]
)
def test_a_grid_refuses_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        image_grid(tmp_path / "grid.png", np.zeros(shape), ["a"] * shape[0])
    assert list(tmp_path.iterdir()) == []


def test_a_grid_refuses_a_missing_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 class names for 2 classes"):
        image_grid(tmp_path / "grid.png", np.zeros((2, 1, 3, 8, 8)), ["a"])


def _grid(path: Path) -> None:
    image_grid(path, np.random.default_rng(0).random((10, 2, 3, 8, 8)), ["class"] * 10)


def _curves(path: Path) -> None:
    curves(path, build.fall("distil", "loss", 30, np.random.default_rng(0)))


@pytest.mark.parametrize("draw", [_grid, _curves], ids=["grid", "curves"])
def test_the_same_content_gives_the_same_file(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_curves_have_a_panel_for_each_value_of_each_phase(tmp_path: Path) -> None:
    one = [{"phase": "distil", "step": i, "loss": 1.0 + i} for i in range(3)]
    curves(tmp_path / "one.png", one)
    curves(tmp_path / "three.png", [*one, *({**p, "phase": "train", "rate": 2.0} for p in one)])
    assert opened(tmp_path / "three.png").shape[1] == 3 * opened(tmp_path / "one.png").shape[1]


def test_curves_survive_values_that_are_not_finite(tmp_path: Path) -> None:
    points = [
        {"phase": "distil", "step": i, "loss": value} for i, value in enumerate((1.0, float("nan"), 3.0))
    ]
    assert curves(tmp_path / "c.png", points)
    assert not curves(tmp_path / "none.png", points[1:2])


@pytest.mark.parametrize(
    "value", [1e308, -1e308, 10**400, float("inf")], ids=["large", "low", "integer", "inf"]
)
def test_curves_survive_values_that_are_too_large_to_draw(tmp_path: Path, value: float) -> None:
    points = [{"phase": "distil", "step": i, "loss": height} for i, height in enumerate((1.0, value, 3.0))]
    assert curves(tmp_path / "c.png", points)


def test_there_is_no_figure_of_nothing(tmp_path: Path) -> None:
    assert not curves(tmp_path / "a.png", [])
    assert not accuracy_against_ipc(tmp_path / "b.png", [])
    assert not error_against_components(tmp_path / "c.png", [])
    assert list(tmp_path.iterdir()) == []


def test_the_papers_numbers_are_drawn_beside_ours(tmp_path: Path) -> None:
    for ipc in (1, 10, 50):
        accuracy = build.measure("accuracy", 30.0 + ipc, 31.0 + ipc, student="convnet")
        build.write(tmp_path, build.content("dm", build.images("cifar10", ipc), [accuracy]))
    results = read_results(tmp_path)
    assert accuracy_against_ipc(tmp_path / "ours.png", results)
    assert accuracy_against_ipc(tmp_path / "both.png", results, read_reference(reference_folder(tmp_path)))
    assert (tmp_path / "ours.png").read_bytes() != (tmp_path / "both.png").read_bytes()


def test_a_legend_of_long_names_stays_inside_the_picture() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    figure.subplots(1, 1)
    long = "igds [generator.architecture=cifar_cpu, generator.sampling_steps=25, guidance_scale=5.0]"
    _legend(figure, ["random", "dm", f"{long} one", f"{long} two"], True, ["full data", "chance"])
    figure.canvas.draw()
    (legend,) = figure.legends
    box, picture = legend.get_window_extent(), figure.bbox
    assert box.x0 >= picture.x0
    assert box.x1 <= picture.x1
    assert box.y0 >= picture.y0
    assert box.height < 0.8 * picture.height


def test_lines_of_a_figure_are_named_by_the_settings_in_which_they_differ(tmp_path: Path) -> None:
    for scale in (2, 5):
        settings = {"generator.cfg": 1.0} | ({"method.scale": scale} if scale != 2 else {})
        for dataset in ("digits", "cifar10"):
            measure = build.measure("accuracy", 30.0 + scale, student="convnet")
            build.write(
                tmp_path, build.content("igds", build.images(dataset, 10, settings=settings), [measure])
            )
    panels = _panels(rows(read_results(tmp_path)), ["accuracy"], "ipc")
    assert [list(panel.lines()) for panel in panels] == [["igds"]] * 2
    assert [panel.swept for panel in panels] == ["method.scale"] * 2
    assert [panel.ticks for panel in panels] == [["default", "5"]] * 2
    assert {panel.naming.above for panel in panels} == {"generator.cfg=1.0"}


def test_an_ablation_has_the_swept_value_along_the_panel(tmp_path: Path) -> None:
    for beta in (3, 0.3, 0, 10):
        settings = {"generator.cfg": 1.0, "method.beta": beta}
        measure = build.measure("accuracy", 30.0 + beta, student="convnet")
        build.write(tmp_path, build.content("igds", build.images("digits", 10, settings=settings), [measure]))
    (panel,) = _panels(rows(read_results(tmp_path)), ["accuracy"], "ipc")
    assert (panel.swept, panel.ticks) == ("method.beta", ["0", "0.3", "3", "10"])
    assert list(panel.lines()) == ["igds"]
    assert "ipc 10" in panel.title
    assert panel.remark == "generator.cfg=1.0"
    other = build.content(
        "igds", build.images("digits", 1), [build.measure("accuracy", 30.0, student="convnet")]
    )
    build.write(tmp_path, other)
    (panel,) = _panels(rows(read_results(tmp_path)), ["accuracy"], "ipc")
    assert (panel.swept, panel.ticks) == ("", ["1", "10"])


@pytest.mark.parametrize(("value", "level"), [(11.0, 10.0), (80.0, None)])
def test_chance_is_drawn_where_a_method_is_near_it(tmp_path: Path, value: float, level: float | None) -> None:
    measure = build.measure("accuracy", value, student="convnet")
    build.write(tmp_path, build.content("dm", build.images("digits"), [measure]))
    (panel,) = _panels(rows(read_results(tmp_path)), ["accuracy"], "ipc")
    assert panel.chance == level


def test_a_figure_is_written_as_pdf_too(tmp_path: Path) -> None:
    build.write(
        tmp_path, build.content("dm", build.images(), [build.measure("accuracy", 1.0, student="convnet")])
    )
    for name in ("a.pdf", "b.pdf"):
        assert accuracy_against_ipc(tmp_path / name, read_results(tmp_path))
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_the_title_of_a_grid_is_whole_whatever_its_length(tmp_path: Path) -> None:
    title = " · ".join(["datadam", "tinyimagenet", "ipc 1", "profile smoke: means nothing", "seed 0"])
    shapes = {}
    for name, text in (("without", ""), ("with", title)):
        image_grid(tmp_path / f"{name}.png", np.ones((2, 1, 3, 8, 8)), ["a", "b"], text)
        shapes[name] = opened(tmp_path / f"{name}.png")
    assert shapes["with"].shape[0] > shapes["without"].shape[0]
    assert (shapes["with"][:, -16:] == 255).all()  # the margin at the right


def test_networks_that_did_not_distil_are_not_in_the_figure(tmp_path: Path) -> None:
    measures = [build.measure("accuracy", 30.0, student=name) for name in ("alexnet", "resnet18")]
    build.write(tmp_path, build.content("dm", build.images(distiller="resnet18"), measures))
    (panel,) = _panels(rows(read_results(tmp_path)), ["accuracy"], "ipc")
    assert [row.axes["student"] for row in panel.rows] == ["resnet18"]


def test_the_ceiling_of_a_panel_is_of_its_data_and_network(tmp_path: Path) -> None:
    for dataset, value in (("digits", 98.0), ("cifar10", 84.0)):
        measures = [
            build.measure(name, value, student="convnet") for name in ("accuracy", "full_data_accuracy")
        ]
        build.write(tmp_path, build.content("dm", build.images(dataset), measures))
    panels = _panels(rows(read_results(tmp_path)), ["accuracy"], "ipc")
    assert {panel.rest["dataset"]: panel.ceiling for panel in panels} == {"digits": 98.0, "cifar10": 84.0}
