"""What `--help` prints: the command, the groups, the methods by task; or the settings of chosen options."""

from __future__ import annotations

import re
from collections import defaultdict

from distill_bench.catalogue import conf_dir, group_options, method_files, method_module, task_module
from distill_bench.groups import GROUPS

__all__ = ["help_text"]

_FOLDERS = {
    "preset": "a method's settings under one name, as its paper has them or as its released code does",
    "experiment": "a paper's table as one sweep",
}  # folders of options that are no groups of their own

_HEAD = """\
distill_bench: method x dataset x (ipc, student, ...) makes a product, measures it under a named protocol, and
writes the measures beside the paper's number.

  python run.py method=datadam dataset=cifar10 ipc=10             one run
  python run.py -m method=random,dm,datadam ipc=1,10 seed=0,1,2   a sweep: every combination
  python run.py method=datadam method.iterations=500              override any value
  python run.py method=datadam --help                             an option's own settings
  python run.py experiment=datadam_table1 profile=fast            a paper's table

A method's product lies in products/, what was measured of it in runs/. What is done is shown, not done again
(force=true does it anew); what was stopped goes on where it was.
"""

_FOOT = """\
Everything else: seed=0 device=auto|cpu|cuda threads=0 force=false time_limit=9m
Places: data_root=data products_root=products runs_root=runs cache_root=cache tables_root=tables
Hydra's own options (--cfg job, --multirun, hydra/launcher=joblib): python run.py --hydra-help
"""


def help_text(argv: list[str]) -> str:
    """The help for the words on the command line: of the options that they choose, if they choose any."""
    chosen = [(group, option) for group, option in map(_choice, argv) if option]
    if chosen:
        return "\n".join(_method_help(o) if g == "method" else _option_help(g, o) for g, o in chosen)
    return "\n".join([_HEAD, "Groups", *_group_lines(), "", "Methods by task", *_method_lines(), "", _FOOT])


def _choice(word: str) -> tuple[str, str]:
    """The group and the option of a word that chooses one with a file of its own, else nothing."""
    group, _, option = word.partition("=")
    option = option.strip("'\"")
    known = group in (*GROUPS, *_FOLDERS, "method") and (conf_dir() / group / f"{option}.yaml").is_file()
    return (group, option) if known else ("", "")


def _option_help(group: str, option: str) -> str:
    settings = (conf_dir() / group / f"{option}.yaml").read_text().rstrip()
    meaning = _meanings()[group]
    change = "" if group in _FOLDERS else f" (override with {group}.<name>=<value>)"
    return f"{group}={option}: {meaning}\n\nSettings{change}:\n\n{settings}\n"


def _meanings() -> dict[str, str]:
    return {name: _first_sentence(kind.__doc__ or "") for name, kind in GROUPS.items()} | _FOLDERS


def _group_lines() -> list[str]:
    defaults = dict(
        re.findall(r'^  - (\w+): "?(\w+)', (conf_dir() / "config.yaml").read_text(), re.MULTILINE)
    )
    lines = []
    for group, meaning in _meanings().items():
        options = [option for option in group_options(group) if option != "none"]
        options = [f"{option} (default)" if option == defaults.get(group) else option for option in options]
        lines += [f"  {group + '=':<12}{meaning}", f"  {'':<12}{', '.join(options)}"]
    return lines


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".")


def _method_lines() -> list[str]:
    by_task = defaultdict(list)
    for name in method_files():
        info = method_module(name).INFO
        by_task[info.task].append(f"    {name:<12}{info.summary}")
    lines = []
    for task, rows in sorted(by_task.items()):
        lines += [f"  {task}", *rows]
    return lines


def _method_help(name: str) -> str:
    info = method_module(name).INFO
    groups = ", ".join(sorted({*info.uses, *info.uses_when, *task_module(info.task).MEASURED_WITH}))
    settings = (conf_dir() / "method" / f"{name}.yaml").read_text().rstrip()
    head = f"method={name}: {info.summary}\npaper: {info.paper}\ntask: {info.task}, groups: {groups}\n"
    return f"{head}\nSettings (override with method.<name>=<value>):\n\n{settings}\n"
