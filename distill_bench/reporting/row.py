"""One row of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from distill_bench.metrics import FEWEST
from distill_bench.reporting.axes import Axes, Settings, axes_key, describe, setting_words, settings_key
from distill_bench.reporting.numbers import mean_std, plain_number, single

__all__ = ["Row"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one method on one problem: ours (None if not measured) beside the paper's."""

    method: str
    axes: Axes
    metric: str
    facets: Mapping[str, str] = field(default_factory=dict)  # what tells measures of one metric apart
    protocol: str = ""  # how ours was measured
    profile: str = ""  # how far ours was scaled down; "paper": not at all
    settings: Settings = field(default_factory=dict)  # what differs from the defaults
    mean: float | None = None
    std: float | None = None  # sample standard deviation over all repeats; None for a single value
    seeds: int = 0
    repeats: int = 0  # of all seeds together
    interval: float | None = None  # half-width of the 95 % interval of the mean
    values: tuple[float, ...] = ()  # the independent repeats, where they are too few for an interval
    paper: float | None = None
    paper_std: float | None = None
    mark: str = ""  # how sure the paper's number is
    source: str = ""
    paper_protocol: str = ""
    size: str = ""  # of the evaluation, in words
    data: str = ""  # the fingerprint of the data
    device: str = ""
    software: str = ""
    command: str = ""  # the command line that filled it
    note: str = ""  # what sets it apart from a row of equal key, in words; not kept in files

    @property
    def key(self) -> tuple[object, ...]:
        """What a row must share with another, beside the data, to take its place."""
        labels = (self.method, self.metric, self.protocol, self.profile, settings_key(self.settings))
        return *labels, axes_key(self.axes), axes_key(self.facets)

    @property
    def soft(self) -> bool:
        """Whether students learned from soft labels: such numbers never stand beside those of hard labels."""
        return "soft" in (self.protocol or self.paper_protocol)

    @property
    def place(self) -> tuple[object, ...]:
        """What a row shares with a paper's number."""
        return self.method, axes_key(self.axes), self.metric, axes_key(self.facets), self.soft

    @property
    def comparable(self) -> bool:
        """Whether ours was made as the paper's was: nothing scaled down, and no setting changed."""
        return self.profile == "paper" and not self.settings

    @property
    def gap(self) -> float | None:
        """Ours minus the paper's, in the metric's unit; None unless they are comparable."""
        if self.mean is None or self.paper is None or not self.comparable:
            return None
        return self.mean - self.paper

    @property
    def noise(self) -> float:
        """Standard deviation of the gap as both sides state theirs: the root of the sum of the squares."""
        return math.hypot(self.std or 0.0, self.paper_std or 0.0)

    @property
    def sure(self) -> bool:
        """Whether it rests on enough independent repeats (seeds, or the networks of one) for an interval."""
        units = self.seeds if self.seeds > 1 else self.repeats
        return units >= FEWEST and self.interval is not None

    @property
    def meaningless(self) -> bool:
        """Whether it only shows that something runs."""
        return self.profile == "smoke"

    @property
    def certainty(self) -> str:
        """``± 1.1``, the 95 % interval; of fewer than three repeats these themselves: ``71.2, 74.9``."""
        if self.sure:
            return f"± {plain_number(self.interval or 0.0, self.metric)}"
        return ", ".join(single(value, self.metric) for value in self.values) if len(self.values) > 1 else ""

    @property
    def cell(self) -> str:
        """The axes in words."""
        return describe(self.axes)

    @property
    def changes(self) -> str:
        """The settings in words."""
        return ", ".join([*setting_words(self.settings), *([self.note] if self.note else [])])

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
