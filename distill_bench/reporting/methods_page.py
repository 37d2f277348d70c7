"""One page about all methods: what each does, whose it is, and which published tables hold numbers of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from distill_bench.catalogue import method_files, method_module
from distill_bench.contract import MethodInfo
from distill_bench.reporting.axes import axes_key, settings_key
from distill_bench.reporting.experiment_table import published
from distill_bench.reporting.row import Row
from distill_bench.reporting.table_file import read_table

__all__ = ["methods_page"]

_COLUMNS = ("method", "what it does", "paper", "its product depends on", "measured in", "status")
_HEAD = """\
# Methods

Written by `make methods` from the methods' own files and from the tables beside this page.

- **its product depends on**: the config groups that change what the method makes; those in brackets do so
  under some of its settings alone.
- **measured in**: the tables that hold numbers of it, with how many cells (data set or mixture, size,
  protocol, profile, settings), and with the profile that they were measured under.
- **status**: *measured*, if there is such a table; that does not say that the method beats anything: read the
  table. *tested*, if there is none: its laws and a small run are tested, and nothing is claimed about its
  numbers.\
"""


def methods_page(results_root: Path) -> str:
    """The whole text of `methods.md` in `results_root`, whose tables it links to."""
    tables = _tables(results_root)
    sections: dict[tuple[str, str], list[str]] = {}
    for name, module in method_files().items():
        task, family = method_module(name).INFO.task, module.split(".")[-2]
        sections.setdefault((task, family), []).append(_line(name, tables))
    parts = [_HEAD]
    for (task, family), lines in sorted(sections.items()):
        title = task if family == task else f"{task}: {family}"
        parts += [f"## {title.replace('_', ' ')}", "\n".join([*_head_of_table(), *lines])]
    return "\n\n".join(parts) + "\n"


def _tables(results_root: Path) -> dict[str, list[Row]]:
    """The measured rows of every published table, by its place under `results_root`, without the ending."""
    return {
        file.relative_to(results_root).with_suffix("").as_posix(): _measured(read_table(file))
        for file in published(results_root)
    }


def _measured(rows: Iterable[Row]) -> list[Row]:
    """Rows with a number of ours that means something: those of profile smoke do not."""
    return [row for row in rows if row.mean is not None and row.profile != "smoke"]


def _line(name: str, tables: Mapping[str, Sequence[Row]]) -> str:
    module = method_module(name)
    info: MethodInfo = module.INFO
    rows = {place: [row for row in table if row.method == name] for place, table in tables.items()}
    places = [_place(place, own) for place, own in rows.items() if own]
    status = "measured" if places else "tested"
    depends = ", ".join([*_groups(info), *(["another method's product"] if hasattr(module, "parts") else [])])
    cells = (f"`{name}`", info.summary, _paper(info.paper), depends, ", ".join(places), status)
    return _row(cells)


def _place(place: str, rows: Sequence[Row]) -> str:
    """A link to the table, the number of its cells, and their profiles."""
    cells = {_cell(row) for row in rows}
    profiles = ", ".join(sorted({row.profile for row in rows}))
    return f"[{place}]({place}.md) ({len(cells)} {'cell' if len(cells) == 1 else 'cells'}, {profiles})"


def _cell(row: Row) -> tuple[object, ...]:
    """What the rows of one product, measured under one protocol, share up to the seed."""
    problem = axes_key({name: value for name, value in row.axes.items() if name != "student"})
    return problem, row.protocol, row.profile, settings_key(row.settings), row.data


def _groups(info: MethodInfo) -> list[str]:
    return [*info.uses, *(f"({group})" for group in info.uses_when)]


def _paper(paper: str) -> str:
    """The paper as the method names it, with a link to arXiv."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)


def _head_of_table() -> tuple[str, str]:
    return _row(_COLUMNS), _row(["---"] * len(_COLUMNS))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Text that cannot break out of its cell."""
    return text.replace("|", "\\|")
