"""What methods, tasks and the runner promise one another: types alone, nothing heavy.

A method is a module `distill_bench/methods/<family>/<name>.py` with

* `Config`: a keyword-only dataclass, one commented field per hyper-parameter, checked in `__post_init__`;
* `INFO`: a `MethodInfo`;
* `run(ctx, cfg)`: makes the task's product;
* `parts(cfg, groups)`, if it learns from other methods' products: their `ProductSpec`s, by name.

A task is a module `distill_bench/tasks/<task>.py` with

* `PRODUCT`: the module of `distill_bench.products` whose class its methods make;
* `MEASURED_WITH`: the groups that measuring uses;
* `TABLE`: the axes of its tables, each with the word of a group's `label` that stands on it;
* `SMOKE`: the words of a run of seconds, of which each method takes those for the groups that it has;
* `measure(ctx, product) -> Outcome`, and `check(ctx)` for what must be refused before the product is made;
* `MEASURED_WHEN`, if it needs further groups for some settings alone: by group, whether the others need it;
* `NAMED`, the words of its axes that stand in the names of its products, if they are not the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distill_bench.metrics import Measure
from distill_bench.spec import ProductSpec

__all__ = ["MethodInfo", "Outcome", "ProductSpec"]


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """Facts about a method, for identities, checks and help texts."""

    task: str  # a module of distill_bench.tasks
    paper: str  # authors, venue and arXiv id, or "baseline"
    summary: str  # one line
    uses: tuple[str, ...]  # the config groups on which its product depends
    uses_when: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    """Groups on which the product depends for some configs alone."""
    published: bool = False  # it needs weights that others published
    revision: int = 1  # raised when equal settings give another product

    def groups_for(self, config: Any) -> tuple[str, ...]:
        """The groups on which the product of `config` depends."""
        return (*self.uses, *(group for group, needs in self.uses_when.items() if needs(config)))


@dataclass(frozen=True)
class Outcome:
    """What measuring gives: measures, and the artifacts it left (role -> file name in the run's folder)."""

    measures: list[Measure]
    artifacts: dict[str, str] = field(default_factory=dict)
