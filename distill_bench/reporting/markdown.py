"""A table as text for people: what was measured at a glance, every number in full, and notes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from distill_bench.reporting.axes import axes_key
from distill_bench.reporting.by_class import CLASS, whole
from distill_bench.reporting.layout import MEANINGLESS, Pivot, pivots
from distill_bench.reporting.numbers import gap_text, heading, metric_of
from distill_bench.reporting.reference import MARKS
from distill_bench.reporting.row import Row

__all__ = ["markdown"]

_COLUMNS = (
    "cell",
    "method",
    "settings",
    "ours",
    "seeds × nets",
    "95 %",
    "paper",
    "mark",
    "gap",
    "protocol",
    "profile",
    "size",
)
_NOTES = (
    "ours: mean ± sample standard deviation over all repeats; seeds × nets: seeds of the product by repeats "
    "of each",
    "95 %: half-width of Student's t interval over the seeds' means (over the repeats of one seed), or these "
    "values themselves where there are fewer than three",
    "gap: ours minus the paper's, only under profile paper and without changed settings",
    "at a glance: the paper's number in brackets; bold: the best of ours and all whose 95 % interval "
    "overlaps with its own, if any is behind them and the best has three repeats or more",
    "settings: what differs from the defaults of the method, the data set, the protocol and the profile",
)
_RIGHT = frozenset({"ours", "seeds × nets", "95 %", "paper", "gap"})


def markdown(rows: Sequence[Row], *, title: str) -> str:
    """The whole text of `<table>.md`."""
    ours = [row for row in rows if row.mean is not None]
    parts = [
        f"# {title}",
        f"Written from result files alone. {len(ours)} of {len(rows)} rows measured.",
    ]
    if ours:
        parts += ["## At a glance", *(_glance(pivot) for pivot in pivots(rows))]
    for section in _sections(whole(rows)).values():
        metric, facets, soft = section[0].metric, section[0].facets, section[0].soft
        parts += [f"## {heading(metric, facets)}{', soft labels' if soft else ''}", _sentence(metric)]
        parts.append(_full(section))
    parts += ["## Notes", "\n".join(f"- {note}" for note in _notes(rows))]
    return "\n\n".join(parts) + "\n"


def _sections(rows: Sequence[Row]) -> dict[tuple[object, ...], list[Row]]:
    """The rows of each metric, in their order; those of soft labels apart."""
    sections: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        sections.setdefault((row.metric, axes_key(row.facets), row.soft), []).append(row)
    return sections


def _sentence(metric: str) -> str:
    definition = metric_of(metric).definition
    return f"{definition[0].upper()}{definition[1:]}."


def _glance(pivot: Pivot) -> str:
    """Methods down, problems across; the paper's number in brackets."""
    blocks = [f"### {pivot.title}", *(_plain(remark) for remark in pivot.remarks)]
    for section in pivot.sections:
        lines = []
        for name, line in section.lines.items():
            cells = [line.get(column) for column in pivot.columns]
            bold = [name in section.best.get(column, ()) for column in pivot.columns]
            lines.append([_plain(name), *(_cell(row, best) for row, best in zip(cells, bold, strict=True))])
        head = [section.heading, *(_plain(column) or "all" for column in pivot.columns)]
        blocks.append(_grid(head, lines, [False, *[True] * len(pivot.columns)]))
    return "\n\n".join(blocks)


def _cell(row: Row | None, best: bool) -> str:
    if row is None:
        return ""
    ours = f"**{row.ours}**" if best else row.ours
    return f"{ours} ({row.theirs})" if row.theirs else ours


def _full(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        gap = "" if row.gap is None else gap_text(row.gap, row.metric)
        words = [row.cell, row.method, row.changes, row.ours, row.count, row.certainty]
        words += [row.theirs, row.mark, gap, row.protocol, row.profile, row.size]
        lines.append([_plain(word) for word in words])
    return _grid(_COLUMNS, lines, [column in _RIGHT for column in _COLUMNS])


def _notes(rows: Sequence[Row]) -> list[str]:
    """What a reader must know before comparing: counts, marks, protocols, scaling, machines."""
    ours = [row for row in rows if row.mean is not None]
    notes = [*_NOTES]
    classes = {row.metric.replace("_", " "): None for row in rows if CLASS in row.facets}
    notes += [f"of single classes: {', '.join(classes)}; only in the csv file"] if classes else []
    scaled = sorted({row.profile for row in ours if row.profile not in ("", "paper")})
    notes += [f"profile {profile}: scaled down from the paper's sizes" for profile in scaled]
    notes += [MEANINGLESS] if any(row.meaningless for row in ours) else []
    notes += [f"mark {mark}: {MARKS[mark]}" for mark in MARKS if any(row.mark == mark for row in rows)]
    notes += [f"paper's numbers from: {_listing(rows, 'source')}"] if any(row.source for row in rows) else []
    if any(row.paper_protocol for row in rows):
        notes.append(f"paper's protocol: {_listing(rows, 'paper_protocol')}")
    for about, words in (
        ("measured by", _distinct(f"`{row.command}`" if row.command else "" for row in ours)),
        ("measured on", _distinct(row.device for row in ours)),
        ("measured with", _distinct(row.software for row in ours)),
    ):
        notes += [f"{about}: {words}"] if words else []
    return notes


def _listing(rows: Iterable[Row], name: str) -> str:
    """Each wording, with the methods (or the numbers) it holds for."""
    holders: dict[str, dict[str, None]] = {}
    for row in rows:
        if text := getattr(row, name):
            holders.setdefault(text, {})[row.method] = None
    return "; ".join(f"{_plain(text)} [{', '.join(methods)}]" for text, methods in holders.items())


def _distinct(words: Iterable[str]) -> str:
    return "; ".join(_plain(word) for word in dict.fromkeys(words) if word)


def _plain(text: str) -> str:
    """Text that cannot break out of its cell, its line, or into markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A markdown table whose columns are aligned in the source as well."""
    widths = [max(3, *(_width(line[i]) for line in [head, *lines])) for i in range(len(head))]
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for text, width, r in zip(cells, widths, right, strict=True):
            space = " " * (width - _width(text))
            padded.append(space + text if r else text + space)
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), f"| {' | '.join(rule)} |", *map(line, lines)])


def _width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
