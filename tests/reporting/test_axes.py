"""Axes and settings: typed, compared by content, and turned into text in one place."""

from __future__ import annotations

import pytest

from distill_bench.reporting.axes import (
    Axes,
    axes_key,
    axis_value,
    describe,
    natural,
    setting_words,
    settings_key,
    shared_settings,
    varying,
)


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        pytest.param(
            {"dataset": "cifar10", "ipc": 10, "student": "convnet", "distiller": "convnet"},
            "cifar10 · ipc 10",
            id="main table",
        ),
        pytest.param(
            {"dataset": "cifar10", "ipc": 10, "distiller": "convnet"}, "cifar10 · ipc 10", id="product alone"
        ),
        pytest.param(
            {"dataset": "cifar10", "ipc": 50, "student": "alexnet", "distiller": "convnet"},
            "cifar10 · ipc 50 · student=alexnet",
            id="cross-architecture",
        ),
        pytest.param(
            {"dataset": "cifar10", "ipc": 1, "student": "resnet18", "distiller": "resnet18"},
            "cifar10 · ipc 1 · student=resnet18 · distiller=resnet18",
            id="another distiller",
        ),
        pytest.param(
            {"dataset": "cifar10", "ipc": 1, "student": "convnet", "distiller": "resnet18"},
            "cifar10 · ipc 1 · student=convnet · distiller=resnet18",
            id="the usual student of another distiller",
        ),
        pytest.param({"dataset": "digits", "student": "convnet"}, "digits", id="the whole training set"),
        pytest.param(
            {"mixture": "random", "dimension": 4, "components": 10, "target": 5},
            "random · dimension 4 · components 10 · target 5",
            id="mixture",
        ),
    ],
)
def test_axes_in_words_name_what_is_not_the_main_tables(axes: Axes, text: str) -> None:
    assert describe(axes) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("0.5", 0.5), ("010", "010"), ("1e5", "1e5"), ("nan", "nan"), ("cifar10", "cifar10")],
)
def test_an_axis_keeps_its_text_when_it_is_read_from_a_file(text: str, value: object) -> None:
    assert axis_value(text) == value
    assert str(axis_value(text)) == text


def test_axes_and_settings_are_compared_by_content() -> None:
    assert axes_key({"dataset": "a", "ipc": 10}) == axes_key({"ipc": "10", "dataset": "a"})
    assert settings_key({"a": 2, "b": [1.0]}) == settings_key({"b": [1], "a": 2.0})
    assert settings_key({"a": True}) != settings_key({"a": "true"})


def test_settings_are_written_as_users_type_them() -> None:
    settings = {"method.iterations": 67, "dataset.zca": True, "generator": "dit", "method.window": [0.1, 0.7]}
    assert setting_words(settings) == [
        "iterations=67",
        "dataset.zca=true",
        "generator=dit",
        "window=[0.1,0.7]",
    ]


def test_shared_settings_are_those_that_all_have_with_equal_values() -> None:
    assert shared_settings([{"a": 1, "b": 2}, {"b": 2.0, "a": 3}]) == {"b": 2}
    assert shared_settings([]) == {}


def test_varying_axes_are_in_their_order() -> None:
    assert varying([{"dataset": "a", "ipc": 1, "student": "x"}, {"dataset": "a", "ipc": 2}]) == [
        "ipc",
        "student",
    ]


def test_numbers_are_ordered_as_numbers() -> None:
    names = ["b ipc 10", "a ipc 50", "a ipc 2", "a ipc 10"]
    assert sorted(names, key=natural) == ["a ipc 2", "a ipc 10", "a ipc 50", "b ipc 10"]
