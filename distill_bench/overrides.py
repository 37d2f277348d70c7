"""The command line before Hydra sees it: numbers of `ipc` are quoted, choices and keys are checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from distill_bench.catalogue import conf_dir, group_options
from distill_bench.errors import UserError, closest

__all__ = [
    "check_choices",
    "check_keys",
    "explain",
    "given_products",
    "groups",
    "open_mappings",
    "plain_sizes",
    "plain_words",
    "quote_numbers",
    "without_places",
]

PRODUCT_GROUPS = ("teacher", "trainset")  # whose options are products of others

_IPC = re.compile(r"^(?P<key>ipc)=(?P<sizes>\d+(,\d+)*)$")
_SIZE = re.compile(r"^ipc\.images_per_class=(?P<sizes>\d+(,\d+)*)$")
_ITEM = re.compile(
    r"""'(?:\\.|[^'\\])*'(?=,|$)|"(?:\\.|[^"\\])*"(?=,|$)|[^,]+"""
)  # of a sweep: quoted, or not
_WITHIN = re.compile(r"^(?P<group>[a-z_]+)\.(?P<field>[a-z_]+)(\.[\w.]+=|=\{)")
_SETTING = re.compile(r"^(?P<key>[a-z_][\w.]*)=")  # not `+key=`, which may be a new one
_TOP_LEVEL = re.compile(r"^([A-Za-z_]\w*):", re.MULTILINE)  # keys of a yaml file
_TAKEN = re.compile(r"^ +- /(\w+)(?:/\w+)?@_here_", re.MULTILINE)  # groups whose fields a file has too
_CHOICE = re.compile(r"^(?P<group>[a-z_/]+)=(?P<choices>[\w./'\"-]+(,[\w./'\"-]+)*)$")


def plain_words(argv: Sequence[str]) -> list[str]:
    """The words of a user as Hydra takes them."""
    return open_mappings(quote_numbers(plain_sizes(given_products(list(argv)))))


def quote_numbers(argv: list[str]) -> list[str]:
    """`ipc=1,10` becomes `ipc='1','10'`: the name of a config file is text to Hydra, and a bare number is
    not."""
    quoted = []
    for word in argv:
        match = _IPC.match(word)
        quoted.append("ipc=" + ",".join(f"'{size}'" for size in match["sizes"].split(",")) if match else word)
    return quoted


def plain_sizes(argv: list[str]) -> list[str]:
    """`ipc.images_per_class=50` becomes `ipc=50` where there is such an option: a paper's cell goes by it.

    A size without an option has no cell of a paper, whatever other size was chosen.
    """
    sizes = next((match["sizes"] for word in reversed(argv) if (match := _SIZE.match(word))), None)
    if sizes is None:
        return argv
    rest = [word for word in argv if not word.startswith(("ipc=", "ipc.images_per_class="))]
    options = set(group_options("ipc"))
    if set(sizes.split(",")) <= options:
        return [*rest, f"ipc={sizes}"]
    return [*rest, f"ipc.images_per_class={sizes}", "cell=none"]


def given_products(argv: list[str]) -> list[str]:
    """`teacher=runs/<id>` becomes `teacher=given teacher.source=runs/<id>`, and so does `trainset=`: a value
    that is no option and looks like a path, or lies there, is the place of a product."""
    words = []
    for word in argv:
        group, equals, value = word.partition("=")
        if not equals or group not in PRODUCT_GROUPS or set(value.split(",")) <= set(group_options(group)):
            words.append(word)
            continue
        places = [_unquoted(item) for item in _ITEM.findall(value)]
        if all(_is_place(place) for place in places):
            quoted = ",".join("'" + place.replace("'", "\\'") + "'" for place in places)
            words += [f"{group}=given", f"{group}.source={quoted}"]
        else:
            words.append(word)
    return words


def _unquoted(text: str) -> str:
    """A value of Hydra's without the quotes around it."""
    if text[0] != text[-1] or text[0] not in "'\"" or len(text) < 2:
        return text
    return text[1:-1].replace(f"\\{text[0]}", text[0])


def _is_place(text: str) -> bool:
    return bool(text) and ("/" in text or text.endswith(".safetensors") or Path(text).exists())


def open_mappings(argv: list[str]) -> list[str]:
    """`method.base_settings.iterations=7` becomes Hydra's `++...`: the file leaves that mapping open."""
    return [f"++{word}" if _is_in_open_mapping(word) else word for word in argv]


def _is_in_open_mapping(word: str) -> bool:
    match = _WITHIN.match(word)
    if match is None or match["group"] not in groups():
        return False
    files = (conf_dir() / match["group"]).rglob("*.yaml")
    return any(re.search(rf"^{match['field']}: \{{\}}", file.read_text(), re.MULTILINE) for file in files)


def groups() -> list[str]:
    """The config groups that can be chosen on the command line."""
    return sorted(
        path.name for path in conf_dir().iterdir() if path.is_dir() and path.name not in ("hydra", "cell")
    )


def check_choices(argv: list[str]) -> None:
    """Raise a UserError with the closest match if a word chooses an option that its group does not have."""
    sweep = any(
        word in ("-m", "--multirun") or word.startswith(("experiment=", "hydra.mode=")) for word in argv
    )
    for word in argv:
        group, equals, rest = word.partition("=")
        if equals and not rest and group in groups():
            raise UserError(f"{group}=: nothing chosen; allowed: {', '.join(group_options(group))}")
        match = _CHOICE.match(word)
        if match is None or match["group"] not in groups():
            continue
        if "," in match["choices"] and not sweep:
            raise UserError(f"{word}: several values are a sweep: add -m")
        options = group_options(match["group"])
        for choice in (text.strip("'\"") for text in match["choices"].split(",")):
            if choice in options:
                continue
            if match["group"] == "ipc":
                sizes = ", ".join(options)
                raise UserError(
                    f"ipc={choice}: known sizes are {sizes}; for any other: ipc.images_per_class={choice}"
                )
            raise UserError(
                f"{match['group']}={choice}: no such {match['group']}; {closest(choice, options)}"
            )


def check_keys(argv: Sequence[str]) -> None:
    """Raise a UserError with the closest match for a key that no config file has.

    Hydra would say so too, after it has composed a config. A key that another group has is left to it.
    """
    if any(word.startswith(("--config-", "-cd", "-cn", "-cp", "hydra.searchpath=")) for word in argv):
        return  # the user has config files that are not known here
    known = {"cell", "hydra", "profiles", *groups()}.union(*map(_keys_of, conf_dir().rglob("*.yaml")))
    for match in filter(None, map(_SETTING.match, argv)):
        group, *rest = match["key"].split(".")
        path = [group, *rest[:1]] if group in groups() else [group]
        if path[-1] not in known:
            raise UserError(_unknown(".".join(path), argv))


def explain(error: Exception, argv: Sequence[str] = ()) -> str:
    """One line for what Hydra found wrong with the command line `argv`, with the closest known key where one
    is missing."""
    text = " ".join(str(error).split())
    match = re.search(r"Could not override '([\w./@]+)'", text)
    if match is None:
        return re.sub(r"\s*Set the environment variable HYDRA_FULL_ERROR.*", "", text)
    return _unknown(match[1], argv)


def _unknown(key: str, argv: Sequence[str]) -> str:
    group, _, name = key.rpartition(".")
    names = _keys(group, argv)
    return f"{key}: unknown key; {closest(name, names)}" if names else f"{key}: unknown key"


def without_places(words: Sequence[str]) -> list[str]:
    """The words that say what a run is, without those that say where things lie on one machine."""
    places = (
        "data_root=",
        "products_root=",
        "runs_root=",
        "cache_root=",
        "results_root=",
        "force=",
        "threads=",
        "hydra",
    )
    return [word for word in words if not word.startswith(places)]


def _keys(group: str, argv: Sequence[str]) -> set[str]:
    """The keys of `group`, or of the top level for the empty name: of the methods that `argv` chooses, and of
    all options of other groups, with those that they take from another group."""
    options = _methods(argv) if group == "method" else ["*"]
    files = [file for option in options for file in (conf_dir() / group).glob(f"{option}.yaml")]
    taken = {source for file in files for source in _TAKEN.findall(file.read_text())}
    files += [file for source in taken for file in (conf_dir() / source).glob("*.yaml")]
    return (set() if group else set(groups())).union(*map(_keys_of, files))


def _methods(argv: Sequence[str]) -> list[str]:
    """The methods that are chosen; all of them where something else may choose one."""
    chosen = [word.partition("=")[2] for word in argv if word.startswith("method=")]
    if not chosen and any(word.startswith(("experiment=", "preset=")) for word in argv):
        return ["*"]
    (default,) = re.findall(r"^  - method: (\w+)", (conf_dir() / "config.yaml").read_text(), re.MULTILINE)
    return [option.strip("'\"") for option in (chosen or [default])[-1].split(",")]


def _keys_of(file: Path) -> set[str]:
    return set(_TOP_LEVEL.findall(file.read_text())) - {"defaults", "hydra", "profiles"}
