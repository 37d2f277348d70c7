"""What a row is about, and the one place where it becomes text.

Axes say which problem a method was given (data set, images per class, networks); settings say what differs
from the defaults. Both are mappings with types. Nothing reads the texts made here back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "Axes",
    "Axis",
    "Settings",
    "axes_key",
    "axis_value",
    "describe",
    "named_teacher",
    "natural",
    "of_the_measure",
    "parts",
    "setting_words",
    "settings_key",
    "shared_settings",
    "sort_key",
    "varying",
    "words",
]

Axis = str | int | float
Axes = Mapping[str, Axis]
Settings = Mapping[str, Any]

_DEFAULT_NETWORK = "convnet"  # the network of the main tables, which a text does not name
_NOTHING = {"trainset": "full", "teacher": "none"}  # values of axes that say that there is nothing special


def axis_value(text: str) -> Axis:
    """The value of an axis from its text in a csv file: a number where the number has this very text."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and math.isfinite(number):
            return number
    return text


def axes_key(axes: Axes) -> tuple[tuple[str, str], ...]:
    """Equal for axes of equal names and values, whatever their order."""
    return tuple(sorted((name, str(value)) for name, value in axes.items()))


def settings_key(settings: Settings) -> str:
    """Equal for equal settings, whatever their order; 2 and 2.0 are equal."""
    return json.dumps(_plain(dict(settings)), sort_keys=True)


def describe(axes: Axes) -> str:
    """All axes in words: ``cifar10 · ipc 10``."""
    return " · ".join(parts(axes))


def parts(axes: Axes) -> list[str]:
    """The words of `describe`: the first axis bare, the networks only where they are not the main tables'."""
    visible = _visible(axes)
    first = next(iter(visible), "")
    rest = {name: value for name, value in visible.items() if name != first}
    return [*([str(visible[first])] if first else []), *words(rest)]


def words(axes: Axes) -> list[str]:
    """Each axis with its name: ``ipc 10``, ``student=alexnet``."""
    return [
        f"{name}={value}" if isinstance(value, str) else f"{name} {value}" for name, value in axes.items()
    ]


def varying(many: Iterable[Axes]) -> list[str]:
    """The names of the axes in which `many` differ, in their order."""
    listed = list(many)
    names = dict.fromkeys(name for axes in listed for name in axes)
    return [name for name in names if len({str(axes.get(name)) for axes in listed}) > 1]


def setting_words(settings: Settings) -> list[str]:
    """Each setting as a user types it, without the prefix of the method: ``iterations=67``."""
    return [f"{name.removeprefix('method.')}={_typed(value)}" for name, value in settings.items()]


def shared_settings(many: Sequence[Settings]) -> Settings:
    """The settings that all of `many` have, with equal values."""
    first, *rest = many or [{}]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and _plain(other[name]) == _plain(value) for other in rest)
    }


def of_the_measure(settings: Settings, facets: Mapping[str, str]) -> Settings:
    """Without those of the attack for what is measured on images as they are."""
    return {
        name: value
        for name, value in settings.items()
        if "attack" in facets or not name.startswith("attack.")
    }


def named_teacher(axes: Axes) -> str:
    """The teacher that a classifier learned from; empty where there is none."""
    teacher = str(axes.get("teacher", ""))
    return "" if teacher == _NOTHING["teacher"] else teacher


def sort_key(axes: Axes) -> list[tuple[tuple[int, int, str], ...]]:
    """Axes as people count; what is nothing special comes first."""
    return [natural("" if _NOTHING.get(name) == value else str(value)) for name, value in axes.items()]


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which ``ipc 2`` comes before ``ipc 10``."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def _visible(axes: Axes) -> Axes:
    """The axes without what is nothing special, and without the networks of the main tables."""
    networks = [axes[name] for name in ("student", "distiller") if name in axes]
    hidden = {"distiller"} if axes.get("distiller") == _DEFAULT_NETWORK else set()
    if set(networks) == {_DEFAULT_NETWORK} and "trainset" not in axes:
        hidden.add("student")
    return {n: value for n, value in axes.items() if n not in hidden and _NOTHING.get(n) != value}


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """`value` with whole floats as integers, so that equal numbers are written alike."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
