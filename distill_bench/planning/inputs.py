"""Files of the user's own that a result depends on: their stamps are part of its identity, their places are
not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_bench.errors import UserError

__all__ = ["input_stamps", "stamp"]


def stamp(path: Path) -> str:
    """A digest of the names, sizes and times of change of the files at or below `path`; empty if nothing is
    there."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        facts = file.stat()
        name = file.relative_to(path).as_posix() if file != path else ""
        total.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16] if files else ""


def input_stamps(owners: Mapping[str, Any], data_root: Path) -> dict[str, str]:
    """The stamps of all given paths, by dotted key. `owners` are groups, and a method's Config.

    Paths of a data set are below `data_root`. UserError for other paths at which nothing is.
    """
    stamps = {}
    for owner, config in owners.items():
        for field, place in getattr(config, "inputs", dict)().items():
            path = (data_root if owner == "dataset" else Path()) / Path(place).expanduser()
            stamps[f"{owner}.{field}"] = stamp(path)
            if not path.exists() and owner != "dataset":
                raise UserError(f"{owner}.{field}={place}: there is no such file or folder")
    return stamps
