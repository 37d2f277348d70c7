"""`teacher=`: trained networks that others learn from, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from distill_bench.errors import UserError, require
from distill_bench.groups.group import plain
from distill_bench.groups.student import StudentConfig
from distill_bench.spec import ProductSpec, given_name

__all__ = ["TeacherConfig"]

_NETWORK = tuple(field.name for field in fields(StudentConfig))


@dataclass(kw_only=True)
class TeacherConfig(StudentConfig):
    """a trained classifier to learn from: an option of student=, or the path of one that is there.

    It is made once, by `teacher.method`, and shared by every run and every seed that asks for it. A path is
    that of a classifier, of its folder, or of a run that measured it.
    """

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"source"})  # the product's digest is part of the identity
    LABELLED: ClassVar[frozenset[str]] = frozenset({"name", "source"})

    name: str = "none"
    method: str = "ce"  # a method of the task classification
    settings: dict[str, Any] = field(default_factory=dict)  # what differs from the method's own settings
    recipe: str = ""  # option of recipe=; empty: the asker's own, or full_data where it has none
    trainset: dict[str, Any] = field(default_factory=dict)  # fields of trainset= for the teacher; empty: full
    seed: int = 0  # of the first teacher
    count: int = 1  # teachers, of the seeds seed, seed + 1, ...
    source: str = ""  # where a given classifier lies

    def __post_init__(self) -> None:
        require(1 <= self.width <= 4096, "teacher.width", self.width, "from 1 to 4096")
        require(0 <= self.depth <= 8, "teacher.depth", self.depth, "from 1 to 8, or 0 for the network's own")
        require(self.seed >= 0, "teacher.seed", self.seed, ">= 0")
        require(1 <= self.count <= 100, "teacher.count", self.count, "from 1 to 100")

    def __bool__(self) -> bool:
        """Whether there is a teacher."""
        return self.name != "none"

    def unused(self) -> frozenset[str]:
        """Everything but the path of a given teacher; without a teacher everything."""
        every = frozenset(field.name for field in fields(self)) - {"name"}
        if not self:
            return every
        return every - {"source"} if self.name == "given" else super().unused() | {"source"}

    def identity(self) -> dict[str, Any]:
        """Nothing: teachers count by their own identities."""
        return {}

    def specs(self) -> tuple[ProductSpec, ...]:
        """The teachers, in the order of their seeds."""
        if self.name == "given":
            if not self.source:
                raise UserError("teacher=given: nothing given; want teacher=<path of a classifier>")
            return (ProductSpec(kind="classifier", path=self.source),)
        if not self:
            return ()
        unused = super().unused()
        network = {name: plain(self)[name] for name in _NETWORK if name not in unused}
        groups = {"student": network, **({"trainset": self.trainset} if self.trainset else {})}
        return tuple(
            ProductSpec(
                kind="classifier",
                method=self.method,
                settings=self.settings,
                groups=groups,
                options={"recipe": self.recipe} if self.recipe else {},
                own=("student", "teacher", "trainset"),
                seed=self.seed + number,
            )
            for number in range(self.count)
        )

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name, with the method where it is another than ce; or the name of what was given."""
        if self.name == "given":
            return {"teacher": given_name(self.source)}
        made = "" if self.method == "ce" or not self else f" ({self.method})"
        return {"teacher": f"{choice}{made}"}
