"""The keys that the config files have, read from the files: Hydra need not be loaded for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from distill_bench.catalogue import conf_dir

__all__ = ["all_keys", "groups", "keys_in", "keys_of", "methods"]

_TOP_LEVEL = re.compile(r"^([A-Za-z_]\w*):", re.MULTILINE)  # keys of a yaml file
_TAKEN = re.compile(r"^ +- /(\w+)(?:/\w+)?@_here_", re.MULTILINE)  # groups whose fields a file has too


def groups() -> list[str]:
    """The config groups that can be chosen on the command line."""
    return sorted(
        path.name for path in conf_dir().iterdir() if path.is_dir() and path.name not in ("hydra", "cell")
    )


def methods(argv: Sequence[str]) -> list[str]:
    """The methods that are chosen; all of them where something else may choose one."""
    chosen = [word.partition("=")[2] for word in argv if word.startswith("method=")]
    if not chosen and any(word.startswith(("experiment=", "preset=")) for word in argv):
        return sorted(file.stem for file in (conf_dir() / "method").glob("*.yaml"))
    (default,) = re.findall(r"^  - method: (\w+)", (conf_dir() / "config.yaml").read_text(), re.MULTILINE)
    return [option.strip("'\"") for option in (chosen or [default])[-1].split(",")]


def keys_of(file: Path) -> set[str]:
    """The keys at the top of a config file; none if it is not there."""
    text = file.read_text() if file.is_file() else ""
    return set(_TOP_LEVEL.findall(text)) - {"defaults", "hydra", "profiles"}


def keys_in(group: str, argv: Sequence[str]) -> set[str]:
    """The keys of `group`, or of the top level for the empty name: of the methods that `argv` chooses, and of
    all options of other groups, with those that they take from another group."""
    options = methods(argv) if group == "method" else ["*"]
    files = [file for option in options for file in (conf_dir() / group).glob(f"{option}.yaml")]
    taken = {source for file in files for source in _TAKEN.findall(file.read_text())}
    files += [file for source in taken for file in (conf_dir() / source).glob("*.yaml")]
    return (set() if group else set(groups())).union(*map(keys_of, files))


def all_keys() -> set[str]:
    """Every key that can stand on the command line, without its group."""
    return {"cell", "hydra", "profiles", *groups()}.union(*map(keys_of, conf_dir().rglob("*.yaml")))
