"""`trainset=`: what a classifier learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from distill_bench.errors import UserError, require
from distill_bench.groups.group import Group
from distill_bench.spec import ProductSpec, given_name

__all__ = ["TrainsetConfig"]


@dataclass(kw_only=True)
class TrainsetConfig(Group):
    """what a classifier learns from: full, a method of dataset distillation (with ipc=), or a path.

    A path is that of a synthetic set, of its folder, or of a run that measured it.
    """

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"source"})  # the product's digest is part of the identity
    LABELLED: ClassVar[frozenset[str]] = frozenset(
        {"name", "method", "images_per_class", "source", "fraction"}
    )

    name: str = "full"
    fraction: float = 1.0  # share of each class's training images that is used, of `full`, in (0, 1]
    method: str = ""  # that makes the set
    images_per_class: int = 10  # of the set that a method makes
    settings: dict[str, Any] = field(default_factory=dict)  # what differs from the method's own settings
    student: str = ""  # option of the network that distils; empty: the method's own
    source: str = ""  # where a given set lies

    def __post_init__(self) -> None:
        require(0 < self.fraction <= 1, "trainset.fraction", self.fraction, "in (0, 1]")
        require(self.images_per_class >= 1, "trainset.images_per_class", self.images_per_class, ">= 1")

    def unused(self) -> frozenset[str]:
        """What the other two kinds of training sets need."""
        made = {"method", "images_per_class", "settings", "student"}
        if self.name == "given":
            return frozenset({"fraction", *made})
        return frozenset({"source", "fraction"} if self.method else {"source", *made})

    def identity(self) -> dict[str, Any]:
        """The share of the training set; a set that is made or given counts by its own identity."""
        return (
            {} if self.method or self.name == "given" or self.fraction == 1 else {"fraction": self.fraction}
        )

    def specs(self) -> tuple[ProductSpec, ...]:
        """The synthetic set, unless it is the data set's own training set that is used."""
        if self.name == "given":
            if not self.source:
                raise UserError("trainset=given: nothing given; want trainset=<path of a synthetic set>")
            return (ProductSpec(kind="synthetic_set", path=self.source),)
        if not self.method:
            return ()
        return (
            ProductSpec(
                kind="synthetic_set",
                method=self.method,
                settings=self.settings,
                groups={"ipc": {"images_per_class": self.images_per_class}},
                options={"student": self.student} if self.student else {},
                own=("student", "recipe", "teacher", "trainset"),
            ),
        )

    def label(self, choice: str) -> dict[str, Any]:
        """The share, or the method and its images per class, or the name of what was given."""
        if self.name == "given":
            return {"trainset": given_name(self.source)}
        if self.method:
            return {"trainset": f"{choice}-{self.images_per_class}"}
        return {"trainset": choice if self.fraction == 1 else f"{100 * self.fraction:g} %"}
