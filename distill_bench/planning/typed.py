"""From a composed node to its dataclass: types, ranges and unknown keys are one clear line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill_bench.errors import UserError, closest

__all__ = ["typed"]


def typed(kind: type, node: Any, where: str) -> Any:
    """Merge `node` into the dataclass `kind`; UserError, one line, for the first thing that is wrong."""
    prefix = f"{where}." if where else ""
    content = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    assert isinstance(content, Mapping)
    names = [field.name for field in fields(kind)]
    items = {str(key): value for key, value in content.items()}
    for key in items:
        if key not in names:
            raise UserError(f"{prefix}{key}: unknown key; {closest(key, names)}")
    schema = OmegaConf.structured(kind)
    for key, value in items.items():
        try:
            schema[key] = value
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{prefix}{key}={value}: {reason}") from None
    return OmegaConf.to_object(schema)
