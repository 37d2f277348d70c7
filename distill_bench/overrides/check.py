"""What of a command line can be refused before Hydra is loaded: forms, options and keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from distill_bench.catalogue import group_options, method_files
from distill_bench.errors import UserError, closest
from distill_bench.overrides.explain import unknown_key
from distill_bench.overrides.keys import all_keys, groups

__all__ = ["check_choices", "check_forms", "check_keys"]

_SETTING = re.compile(r"^(?P<key>[a-z_][\w.]*)=")  # not `+key=`, which may be a new one
_CHOICE = re.compile(r"^\+{0,2}(?P<group>[a-z_/]+)(@[\w.]+)?=(?P<choices>[\w./'\"-]+(,[\w./'\"-]+)*)$")
_OTHER_CHOICE = re.compile(r"^\+{0,2}(?P<group>[a-z_/]+)(@[\w.]+)?=(?P<value>.*)$", re.DOTALL)
_OF_TEXT = ("choice", "glob", "shuffle", "sort", "tag")  # functions of Hydra that can give options


def check_forms(words: Sequence[str]) -> None:
    """Raise a UserError for a word (that is no flag) of a form in which it cannot mean anything here."""
    for word in words:
        key, equals, _ = word.partition("=")
        if key.startswith("~") and key.count(".") < 2 and not key.startswith("~hydra"):
            raise UserError(f"{word}: nothing can be left out; choose another value: {key[1:]}=...")
        if not key.strip("+~") or (not equals and not key.startswith("~")):
            raise UserError(f"{word or repr(word)}: not a setting; want <key>=<value>")


def check_choices(argv: Sequence[str]) -> None:
    """Raise a UserError with the closest match if a word chooses an option that its group does not have."""
    sweep = any(
        word in ("-m", "--multirun") or word.startswith(("experiment=", "hydra.mode=")) for word in argv
    )
    for word in argv:
        group, equals, rest = word.partition("=")
        if equals and not rest and group in groups():
            raise UserError(f"{group}=: nothing chosen; allowed: {', '.join(group_options(group))}")
        match = _CHOICE.match(word)
        if match is None:
            _check_other_choice(word)
        elif match["group"] in groups():
            if "," in match["choices"] and not sweep:
                raise UserError(f"{word}: several values are a sweep: add -m")
            for choice in match["choices"].split(","):
                _check_option(match["group"], choice.strip("'\""))


def check_keys(argv: Sequence[str]) -> None:
    """Raise a UserError with the closest match for a key that no config file has.

    Hydra would say so too, after it has composed a config. A key that another group has is left to it.
    """
    if any(word.startswith(("--config-", "-cd", "-cn", "-cp", "hydra.searchpath=")) for word in argv):
        return  # the user has config files that are not known here
    known = all_keys()
    for match in filter(None, map(_SETTING.match, argv)):
        group, *rest = match["key"].split(".")
        path = [group, *rest[:1]] if group in groups() else [group]
        if path[-1] not in known:
            raise UserError(unknown_key(".".join(path), argv))


def _check_option(group: str, choice: str) -> None:
    if group == "ipc":
        if not re.fullmatch(r"[1-9]\d*", choice):
            raise UserError(f"ipc={choice}: must be a number of images per class, 1 or more")
    elif choice not in (options := group_options(group)):
        if group == "method" and choice in method_files():
            raise UserError(f"method={choice}: has no conf/method/{choice}.yaml, which holds its settings")
        raise UserError(f"{group}={choice}: no such {group}; {closest(choice, options)}")


def _check_other_choice(word: str) -> None:
    """Of a group: a list, of which Hydra would take the last; a function that gives numbers, no names."""
    match = _OTHER_CHOICE.match(word)
    if match is None or match["group"] not in groups():
        return
    group, value = match["group"], match["value"]
    if value.startswith("["):
        raise UserError(f"{word}: one option at a time; several are a sweep: -m {group}=<one>,<another>")
    function = re.match(r"(\w+)\(", value)
    if function and (group == "ipc" or function[1] not in _OF_TEXT):
        raise UserError(f"{word}: an option is chosen by its name; list them: -m {group}=<one>,<another>")
