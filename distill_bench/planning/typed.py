"""From a composed node to its dataclass: types, ranges and unknown keys are one clear line each."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from distill_bench.errors import UserError, closest, require

__all__ = ["resolved", "typed"]

LARGEST = 2**32
"""The largest size of a whole number in a config: none is meant to be larger."""


def typed(kind: type, node: Any, where: str) -> Any:
    """Merge `node` into the dataclass `kind`; UserError, one line, for the first thing that is wrong."""
    prefix = f"{where}." if where else ""
    items = resolved(node, where)
    names = [field.name for field in fields(kind)]
    for key in items:
        if key not in names:
            raise UserError(f"{prefix}{key}: unknown key; {closest(key, names)}")
    schema = OmegaConf.structured(kind)
    for key, given in items.items():
        value = _with_whole_keys(given) if key in _by_number(kind) else given
        try:
            schema[key] = value
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{prefix}{key}={value}: {reason}") from None
    _check_numbers(OmegaConf.to_container(schema), prefix)
    return OmegaConf.to_object(schema)


def resolved(node: Any, where: str) -> dict[str, Any]:
    """The plain content of a config node; UserError at `where` for a value that is missing, or that stands
    for another one which is not there."""
    try:
        content = (
            OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
            if OmegaConf.is_config(node)
            else node
        )
    except MissingMandatoryValue as error:
        raise UserError(f"{_place(where, error)}=???: must be given") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{_place(where, error)}: {str(error).splitlines()[0].rstrip('.')}") from None
    assert isinstance(content, Mapping)
    return {str(key): value for key, value in content.items()}


def _place(where: str, error: OmegaConfBaseException) -> str:
    key = str(error.full_key or error.key or "")
    return key if not where or key.startswith(f"{where}.") else f"{where}.{key}".rstrip(".")


def _check_numbers(content: Any, prefix: str) -> None:
    """UserError for a number that is not finite, or a whole one that is absurdly large."""
    for key, value in content.items():
        for number in _numbers(value):
            require(math.isfinite(number), f"{prefix}{key}", value, "finite")
            fits = isinstance(number, float) or abs(number) <= LARGEST
            require(fits, f"{prefix}{key}", value, f"at most {LARGEST}")


@cache
def _by_number(kind: type) -> frozenset[str]:
    """The fields that are tables by whole numbers, whose keys a command line gives as text."""
    hints = typing.get_type_hints(kind)
    return frozenset(
        name
        for name, hint in hints.items()
        if typing.get_origin(hint) is dict and typing.get_args(hint)[0] is int
    )


def _with_whole_keys(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {int(key) if str(key).isdigit() else key: value for key, value in table.items()}


def _numbers(value: Any) -> Iterator[int | float]:
    """The numbers in a value, however deep."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, (list, Mapping)):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(child)
