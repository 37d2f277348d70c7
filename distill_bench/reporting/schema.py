"""The standard form of a result file: a content either has it, or one line says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_bench.metrics import Measure

__all__ = ["SCHEMA", "check", "parse_json", "read_measures"]

SCHEMA = 2
_LARGEST = 1e100  # of a number: its square and a sum of many are still finite
_DEEPEST = 30  # mappings and lists inside one another
_FIELDS = {
    "run_id": str,
    "cell_id": str,
    "task": str,
    "method": str,
    "paper": str,
    "summary": str,
    "axes": dict,
    "protocol": str,
    "profile": str,
    "settings": dict,
    "seed": int,
    "config": dict,
    "product": dict,
    "measures": list,
    "artifacts": dict,
    "provenance": dict,
}


def parse_json(content: bytes) -> Any:
    """The value that `content` holds. ValueError, one line, for anything that is not whole and sane JSON."""
    try:
        value = json.loads(content.decode(encoding="utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"not a text file ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not whole JSON ({error})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(value)
    return value


def check(content: Any) -> None:
    """Raise ValueError unless `content` is a finished result of this schema, every field of its type."""
    if not isinstance(content, Mapping):
        raise ValueError("not a result: no JSON object")
    if content.get("schema") == 1:
        raise ValueError("made by an earlier version; run it again")
    if content.get("schema") != SCHEMA or content.get("status") != "done":
        raise ValueError(f"not a finished result of schema {SCHEMA}")
    for key, kind in _FIELDS.items():
        _require(isinstance(content.get(key), kind), f"{key} is missing or not a {kind.__name__}")
    _require(type(content["seed"]) is int, "seed is not an int")
    _check_axes(content["axes"])
    _check_product(content["product"])
    _require(_are_texts(content["artifacts"]), "artifacts must name files")
    seconds = content["provenance"].get("seconds", 0.0)
    _require(_is_number(seconds) and seconds >= 0, "provenance.seconds must be a number >= 0")
    _require(bool(content["measures"]), "measures are empty")


def read_measures(contents: list[Any]) -> list[Measure]:
    """The measures of a result; ValueError for one that is not of the standard form."""
    measures = []
    for content in contents:
        _require(isinstance(content, Mapping), f"wrong measure {content!r:.60}")
        values, facets = content.get("values"), content.get("facets", {})
        name = content.get("name")
        _require(isinstance(name, str), f"wrong measure: name {name!r:.60}")
        _require(isinstance(values, list) and bool(values), f"measure {name}: no values")
        _require(all(map(_is_number, values)), f"measure {name}: values must be finite, at most {_LARGEST:g}")
        _require(_are_texts(facets), f"measure {name}: facets must be names and texts")
        measures.append(Measure(name=name, values=[float(value) for value in values], facets=dict(facets)))
    return measures


def _check_axes(axes: Mapping[str, Any]) -> None:
    _require(bool(axes), "axes are empty")
    for name, value in axes.items():
        _require(isinstance(value, str) or _is_number(value), f"axes.{name} must be a text or a number")


def _check_product(product: Mapping[str, Any]) -> None:
    """The product's folder is named by its id, which must not lead anywhere else."""
    name = product.get("id")
    plain = isinstance(name, str) and Path(name).name == name and "\\" not in name
    _require(plain, "product.id must be the name of a folder")
    _require(isinstance(product.get("digest"), str), "product.digest is missing or not a str")
    _require(_are_texts(product.get("artifacts")), "product.artifacts must name files")


def _require(right: bool, wrong: str) -> None:
    if not right:
        raise ValueError(f"not a result: {wrong}")


def _are_texts(mapping: Any) -> bool:
    return isinstance(mapping, Mapping) and all(isinstance(value, str) for value in mapping.values())


def _is_number(value: Any) -> bool:
    """Whether `value` is a finite number of a size with which one can compute."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= _LARGEST and math.isfinite(value)


def _check_depth(value: Any) -> None:
    layer = [value]
    for _ in range(_DEEPEST):
        layer = [
            part
            for node in layer
            if isinstance(node, dict | list)
            for part in (node.values() if isinstance(node, dict) else node)
        ]
    if layer:
        raise ValueError("nested too deeply")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"not JSON ({text} is no number of it)")
