"""One row of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distill_bench.reporting.numbers import mean_std

__all__ = ["Row"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one method in one setting: ours (None if not measured) beside the paper's."""

    method: str
    setting: str
    metric: str
    protocol: str = ""  # how ours was measured
    profile: str = ""  # how far ours was scaled down; "paper": not at all
    variant: str = ""  # what sets it apart from cells with the same labels
    mean: float | None = None
    std: float | None = None  # sample standard deviation over all repeats; None for a single value
    seeds: int = 0
    repeats: int = 0  # of all seeds together
    interval: float | None = None  # half-width of the 95 % interval of the mean
    paper: float | None = None
    paper_std: float | None = None
    mark: str = ""  # how sure the paper's number is
    source: str = ""
    paper_protocol: str = ""
    device: str = ""
    software: str = ""
    cell: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a row must share with another to take its place."""
        return self.method, self.setting, self.metric, self.protocol, self.profile, self.variant

    @property
    def soft(self) -> bool:
        """Whether students learned from soft labels: such numbers never stand beside those of hard labels."""
        return "soft" in (self.protocol or self.paper_protocol)

    @property
    def place(self) -> tuple[str, str, str, bool]:
        """What a row shares with a paper's number."""
        return self.method, self.setting, self.metric, self.soft

    @property
    def gap(self) -> float | None:
        """Ours minus the paper's, in the metric's unit."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper

    @property
    def noise(self) -> float:
        """Standard deviation of the gap as both sides state theirs: the root of the sum of the squares."""
        return math.hypot(self.std or 0.0, self.paper_std or 0.0)

    @property
    def name(self) -> str:
        """The method, with what sets it apart."""
        return f"{self.method} [{self.variant}]" if self.variant else self.method

    @property
    def ours(self) -> str:
        """``mean ± std``, empty if not measured."""
        return "" if self.mean is None else mean_std(self.mean, self.std, self.metric)

    @property
    def theirs(self) -> str:
        """The paper's ``value ± std``, empty if it has none."""
        return "" if self.paper is None else mean_std(self.paper, self.paper_std, self.metric)

    @property
    def count(self) -> str:
        """Seeds by repeats, kept apart: ``3 × 5``; the total where the seeds have unequal repeats."""
        if not self.seeds:
            return ""
        each, uneven = divmod(self.repeats, self.seeds)
        return f"{self.seeds} seeds, {self.repeats}" if uneven else f"{self.seeds} × {each}"
