"""Reading the curves of a run or a product."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["read_points"]

_LAST_STEP = 2**53


def read_points(file: Path, warn: Callable[[str], None]) -> list[dict[str, Any]]:
    """The points of a `metrics.jsonl`: objects with a text `phase` and a whole number `step`.

    Other lines, such as one cut off by a kill, are left out; none if there is no file. A file that cannot be
    read is named in one line given to `warn`.
    """
    try:
        lines = file.read_bytes().decode(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        warn(f"skipped {file}: not a text file ({error.reason})")
        return []
    except OSError as error:
        warn(f"skipped {file}: {error}")
        return []
    return [point for line in lines if _is_point(point := _value(line))]


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_point(point: Any) -> bool:
    if not isinstance(point, dict) or not isinstance(point.get("phase"), str):
        return False
    step = point.get("step")
    return isinstance(step, int) and not isinstance(step, bool) and abs(step) <= _LAST_STEP
