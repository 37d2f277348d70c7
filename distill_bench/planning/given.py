"""A product that is there already, named by its path: what it is, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_bench.errors import UserError
from distill_bench.groups import DatasetConfig

__all__ = ["GivenProduct", "plan_given", "refuse_other_images"]

_WORDS = {"synthetic_set": "a synthetic set", "classifier": "a classifier"}


@dataclass(frozen=True, kw_only=True)
class GivenProduct:
    """A product in a file; it counts by its content, wherever it lies."""

    path: str  # as it was given
    kind: str
    digest: str  # of its content
    facts: Mapping[str, Any]  # classes, channels, resolution

    @property
    def product_id(self) -> str:
        """Names the product by its content."""
        return f"{self.kind}:{self.digest}"

    @property
    def cell_id(self) -> str:
        """The same: a given product has no seed."""
        return self.product_id

    @property
    def reachable(self) -> frozenset[str]:
        """No group can change it."""
        return frozenset()

    @property
    def in_use(self) -> frozenset[str]:
        """No group is asked for it."""
        return frozenset()


def plan_given(key: str, path: str, kind: str) -> GivenProduct:
    """The product at `path`, which must be of this kind; UserError, one line that begins with `key`."""
    from distill_bench.products.files import describe

    try:
        about, digest = describe(Path(path).expanduser())
    except UserError as error:
        raise UserError(f"{key}={path}: {error}") from None
    if about["kind"] != kind:
        found = _WORDS.get(about["kind"], about["kind"])
        raise UserError(f"{key}={path}: holds {found}; must be {_WORDS.get(kind, kind)}")
    return GivenProduct(path=path, kind=kind, digest=digest, facts=about.get("facts", {}))


def refuse_other_images(key: str, given: GivenProduct, dataset: DatasetConfig) -> None:
    """UserError if the product is not of the data set's classes, channels and size, as far as both are
    known."""
    wanted = {
        "classes": (len(dataset.classes) or dataset.num_classes, "classes"),
        "channels": (dataset.channels, "channels"),
        "resolution": (dataset.resolution, "pixels a side"),
    }
    for fact, (value, unit) in wanted.items():
        own = given.facts.get(fact, value)
        if value and own != value:
            place = f"dataset={dataset.name} has {value}"
            raise UserError(f"{key}={given.path}: made for {own} {unit}, but {place}")
