"""`profile=`: how far everything is scaled down."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ProfileConfig"]


@dataclass(kw_only=True)
class ProfileConfig:
    """how far everything is scaled down: smoke (seconds), fast (minutes), paper (a GPU).

    Each cap is an upper bound; a value set on the command line is left alone. The caps of a method's own
    settings stand in the method's yaml.
    """

    name: str = "paper"
    caps: dict[str, dict[str, int]] = field(default_factory=dict)  # group -> field -> largest value
