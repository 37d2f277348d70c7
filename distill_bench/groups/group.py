"""What every config group has: its part of an identity, and the words that tables show for it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar

from distill_bench.spec import ProductSpec

__all__ = ["Group", "plain"]


@dataclass(kw_only=True)
class Group:
    """The base of a group's typed form. A subclass overrides what is special about it."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no result: where things lie, and how fast they go."""
    LABELLED: ClassVar[frozenset[str]] = frozenset({"name"})
    """Fields that `label` tells, so that a result's settings need not."""
    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Fields that add measures and change no other."""

    def identity(self) -> dict[str, Any]:
        """Everything of this group that a result depends on, as JSON."""
        left_out = self.NEUTRAL | self.unused() | self.idle()
        return {key: value for key, value in plain(self).items() if key not in left_out}

    def product_identity(self) -> dict[str, Any]:
        """Everything of this group that a product which uses it depends on, as JSON."""
        return self.identity()

    def unused(self) -> frozenset[str]:
        """Fields that the chosen option does not use: giving one is an error."""
        return frozenset()

    def idle(self) -> frozenset[str]:
        """Fields that came after results which are kept, and as they stand change nothing: those results stay
        theirs."""
        return frozenset()

    def specs(self) -> tuple[ProductSpec, ...]:
        """The products of others that this group stands for."""
        return ()

    def label(self, choice: str) -> dict[str, Any]:  # noqa: ARG002 (most groups stand on no axis)
        """The words of this group on a table's axes, by the name of the axis; `choice` is the option's
        name."""
        return {}

    def inputs(self) -> dict[str, str]:
        """Paths of the user's own files that a result depends on, by field."""
        return {}


def plain(value: Any) -> Any:
    """A config object as JSON: enums by name, dataclasses and mappings as dicts, sequences as lists."""
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(child) for key, child in value.items()}
    return [plain(child) for child in value] if isinstance(value, (list, tuple)) else value
