"""Files of the user's own that a result depends on: their stamps are part of its identity, their places are
not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_bench.data.listing import SUFFIXES
from distill_bench.errors import UserError
from distill_bench.files import stamp

__all__ = ["input_stamps"]


def input_stamps(owners: Mapping[str, Any], data_root: Path) -> dict[str, str]:
    """The stamps of all given paths, by dotted key. `owners` are groups, and a method's Config.

    Paths of a data set are below `data_root`. UserError for other paths at which nothing is.
    """
    stamps = {}
    for owner, config in owners.items():
        for field, place in getattr(config, "inputs", dict)().items():
            path = (data_root if owner == "dataset" else Path()) / Path(place).expanduser()
            stamps[f"{owner}.{field}"] = stamp(path, SUFFIXES if owner == "dataset" else ())
            if not path.exists() and owner != "dataset":
                raise UserError(f"{owner}.{field}={place}: there is no such file or folder")
    return stamps
