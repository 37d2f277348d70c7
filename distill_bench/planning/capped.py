"""A profile's upper bounds, applied to a composed config."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from distill_bench.groups import ProfileConfig
from distill_bench.planning.typed import resolved, typed

__all__ = ["capped_nodes", "method_node"]


def capped_nodes(
    config: DictConfig, names: Collection[str], by_hand: Collection[str]
) -> dict[str, dict[str, Any]]:
    """The plain content of the groups `names` and of `method`, every field at most its cap.

    Fields that are in `by_hand`, by dotted key, are left alone. The caps of groups stand in the profile,
    those of a method at the foot of its yaml.
    """
    profile = typed(ProfileConfig, config.profile, "profile")
    method, bounds = method_node(config)
    nodes = {"method": method, **{name: resolved(config[name], name) for name in names}}
    caps = {**profile.caps, "method": bounds.get(profile.name, {})}
    caps["teacher"] = {**caps.get("student", {}), **caps.get("teacher", {})}  # a teacher is such a network
    return {name: _capped(node, caps.get(name, {}), name, by_hand) for name, node in nodes.items()}


def method_node(config: DictConfig) -> tuple[dict[str, Any], Mapping[str, Mapping[str, float]]]:
    """The method's own fields, and its bounds by profile."""
    node = resolved(config.method, "method")
    return node, node.pop("profiles", None) or {}


def _capped(
    node: dict[str, Any], caps: Mapping[str, float], group: str, by_hand: Collection[str]
) -> dict[str, Any]:
    content = dict(node)
    for key, largest in caps.items():
        value = content.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or f"{group}.{key}" in by_hand:
            continue
        content[key] = min(value, largest)
    return content
