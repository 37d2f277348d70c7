"""How one thing asks for a product of another: made by a method, or there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

__all__ = ["ProductSpec", "given_name"]


@dataclass(frozen=True, kw_only=True)
class ProductSpec:
    """A product that another one, or a measure, is made from.

    Either `path`: the folder or the file of a product, or the folder of a run that measured it. Or `method`,
    and what differs from the asker's own config: `settings` are fields of the method's Config, `groups` are
    fields of other groups, by group, `options` are the options chosen of them. Groups in `own` are as the
    product's own method has them, whatever the asker chose; everything else is as the asker has it.
    """

    kind: str  # what it must be: a module of distill_bench.products
    method: str = ""
    path: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    seed: int | None = None  # None: the asker's


def given_name(source: str) -> str:
    """The word of tables: the name of the product's or the run's folder, or of a file that has one of its
    own."""
    path = PurePath(source)
    if path.suffix != ".safetensors":
        return path.name
    own = path.stem not in ("classifier", "synthetic_set")  # what every product's file is called
    return path.stem if own or not path.parent.name else path.parent.name
