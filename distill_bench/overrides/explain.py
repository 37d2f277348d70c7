"""One line for what Hydra, or we before it, found wrong with a command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from distill_bench.catalogue import conf_dir
from distill_bench.errors import closest
from distill_bench.overrides.keys import groups, keys_in, keys_of

__all__ = ["explain", "unknown_key"]

_CLOSE = 0.75  # how alike a misspelt name is, at least


def explain(error: Exception, argv: Sequence[str] = ()) -> str:
    """One line for what Hydra found wrong with the command line `argv`, with the closest known key where one
    is missing."""
    text = " ".join(str(error).split())
    match = re.search(r"Could not override '([\w./@]+)'", text)
    if match is not None:
        return unknown_key(match[1], argv)
    word = str(getattr(error, "override", None) or "")  # one that Hydra could not parse
    if "=" in word:
        key, _, value = word.partition("=")
        text = f"{word}: Hydra cannot read this value; quote it: {_shell_quoted(key, value)}"
        return text if not value.endswith(",") else f"{word}: ends with a comma"
    if "Ambiguous value for argument" in text:
        key, _, value = text.split("'")[1].partition("=")
        quoted = _shell_quoted(key, value)
        return f"{key}={value}: several values are a sweep: add -m; one text with a comma is quoted: {quoted}"
    return re.sub(r"\s*(Set the environment variable HYDRA_FULL_ERROR|See https://hydra\.cc).*", "", text)


def unknown_key(key: str, argv: Sequence[str]) -> str:
    """What is wrong with a key that the chosen options do not have."""
    group, _, name = key.rpartition(".")
    names = keys_in(group, argv)
    if not names:
        return f"{key}: unknown key"
    if name in names:
        return f"{key}: not a setting of {_chosen(group, argv)}; those that have it: {_having(group, name)}"
    fields = [] if group or difflib.get_close_matches(name, names, 1, _CLOSE) else _fields_like(name, argv)
    if fields:
        return f"{key}: unknown key; did you mean {' or '.join(fields)}?"
    return f"{key}: unknown key; {closest(name, names)}"


def _fields_like(name: str, argv: Sequence[str]) -> list[str]:
    """The fields of groups that have this name, or else the closest one."""
    own = {place: keys_in(place, argv) for place in groups()}
    close = difflib.get_close_matches(name, sorted(set[str]().union(*own.values())), 1, _CLOSE)
    return [f"{place}.{close[0]}" for place in own if close and close[0] in own[place]]


def _chosen(group: str, argv: Sequence[str]) -> str:
    chosen = [word for word in argv if word.startswith(f"{group}=")]
    return chosen[-1] if chosen else f"the default of {group}"


def _having(group: str, name: str) -> str:
    options = [file.stem for file in sorted((conf_dir() / group).glob("*.yaml")) if name in keys_of(file)]
    return f"{group}={','.join(options)}"


def _shell_quoted(key: str, value: str) -> str:
    """The word as a shell takes it, its value quoted for Hydra."""
    if "'" in value:
        inner = value.replace('"', '\\"')
        return f'"{key}=\\"{inner}\\""'
    return f"'{key}=\"{value}\"'"
