"""Flags of the command line: they may stand anywhere, and an unknown one is one line."""

from __future__ import annotations

from collections.abc import Sequence

from distill_bench.errors import UserError, closest

__all__ = ["split_flags"]

_ALONE = (
    "--help",
    "-h",
    "--version",
    "--hydra-help",
    "--resolve",
    "--run",
    "-r",
    "--multirun",
    "-m",
    "--shell-completion",
    "-sc",
)
_SHOW = ("job", "hydra", "all")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_WITH_VALUE: dict[str, tuple[str, ...]] = {
    "--cfg": _SHOW,
    "-c": _SHOW,
    "--package": (),
    "-p": (),
    "--config-path": (),
    "-cp": (),
    "--config-name": (),
    "-cn": (),
    "--config-dir": (),
    "-cd": (),
}
"""Flags with a value, and the values that each may have (none: any)."""
_MAY_HAVE_VALUE = ("--info", "-i")
_REFUSED = {
    "--experimental-rerun": "reads a pickled job, and nothing is unpickled here; give its words again"
}


def split_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags with their values, and the other words, each in their order. UserError for a flag that Hydra
    has not, or one that is not whole."""
    flags: list[str] = []
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        _check_known(flag, word)
        flags.append(word)
        if flag in _MAY_HAVE_VALUE and not equals and rest and rest[0] in _INFO:
            flags.append(rest.pop(0))
        if flag in _WITH_VALUE:
            if not equals:
                value = rest.pop(0) if rest else ""
                flags.append(value)
            allowed = _WITH_VALUE[flag]
            if not value or (allowed and value not in allowed):
                want = f"{flag} {'|'.join(allowed) or '<value>'}"
                raise UserError(f"{flag} {value}".rstrip() + f": want {want}")
    if "--resolve" in flags and not any(flag.startswith(("--cfg", "-c")) for flag in flags):
        raise UserError("--resolve: goes with --cfg job")
    return flags, words


def _check_known(flag: str, word: str) -> None:
    known = [*_ALONE, *_WITH_VALUE, *_MAY_HAVE_VALUE]
    if flag in _REFUSED:
        raise UserError(f"{flag}: {_REFUSED[flag]}")
    if flag not in known or (flag in _ALONE and flag != word):
        named = closest(flag, [name for name in known if name.startswith("--")])
        raise UserError(f"{word}: unknown flag; {named}")
