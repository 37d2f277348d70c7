"""What of a config differs from the composed default of its method, data set, IPC, protocol and profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill_bench.groups import plain

__all__ = ["settings_between"]


def settings_between(config: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of typed groups (and of the method) that differ, by dotted key, as JSON.

    What a table's axes tell, what changes no result, and what only adds measures is left out.
    """
    settings = {}
    for name, group in config.items():
        values, defaults = plain(group), plain(default[name])
        for key in values:
            if key not in _silent(group) and values[key] != defaults.get(key):
                settings[f"{name}.{key}"] = values[key]
    return settings


def _silent(group: Any) -> frozenset[str]:
    if not hasattr(group, "LABELLED"):  # a method's Config
        return frozenset({"name"})
    silent: frozenset[str] = group.LABELLED | group.NEUTRAL | group.ADDED | group.unused()
    return silent
