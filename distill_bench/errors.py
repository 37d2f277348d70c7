"""Errors that are the user's to mend: one clear line each, exit code 2, nothing lost."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "closest", "require"]


class UserError(Exception):
    """Wrong input: the message is one line saying what, where and what is allowed."""


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise a `UserError` naming `key`, `value` and what is `allowed`, unless `ok`."""
    if not ok:
        raise UserError(f"{key}={value}: must be {allowed}")


def closest(name: str, options: Iterable[str]) -> str:
    """The end of an error line: the closest match among `options` (if any is close) and all of them."""
    names = sorted(options)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {match[0]!r}? " if match else ""
    return f"{hint}allowed: {', '.join(names)}"
