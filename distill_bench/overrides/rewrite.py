"""Words of a user as Hydra takes them: numbers of `ipc` are quoted, paths too, open mappings are opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from distill_bench.catalogue import conf_dir, group_options
from distill_bench.overrides.keys import groups, keys_of, methods

__all__ = [
    "PRODUCT_GROUPS",
    "given_products",
    "open_fields",
    "open_mappings",
    "plain_sizes",
    "plain_words",
    "quote_numbers",
    "quote_places",
    "sizes",
    "without_places",
]

PRODUCT_GROUPS = ("teacher", "trainset")  # whose options are products of others

_IPC = re.compile(r"^(?P<key>ipc)=(?P<sizes>\d+(,\d+)*)$")
_QUOTED_IPC = re.compile(r"^ipc=(?P<sizes>['\"]?\d+['\"]?(,['\"]?\d+['\"]?)*)$")
_SIZE = re.compile(r"^ipc\.images_per_class=(?P<sizes>[1-9]\d*(,[1-9]\d*)*)$")
_ITEM = re.compile(
    r"""'(?:\\.|[^'\\])*'(?=,|$)|"(?:\\.|[^"\\])*"(?=,|$)|[^,]+"""
)  # of a sweep: quoted, or not
_WITHIN = re.compile(r"^(?P<group>[a-z_]+)\.(?P<field>[a-z_]+)(\.[\w.]+=|=\{)")
_METHOD_FIELD = re.compile(r"^method\.(?P<field>[a-z_]\w*)[.=]")
_PLACE = re.compile(r"^(?P<key>[a-z_]+_root|[a-z_]+\.([a-z_]+_)?(folder|path|source|weights))=(?P<place>.+)$")
_PLAIN_PLACE = re.compile(r"[\w./+\-:%@]+", re.ASCII)


def plain_words(argv: Sequence[str]) -> list[str]:
    """The words of a user as Hydra takes them."""
    words = [word.strip() for word in argv]
    words = quote_places(given_products(words))
    return open_fields(open_mappings(quote_numbers(plain_sizes(words))))


def quote_numbers(argv: list[str]) -> list[str]:
    """`ipc=1,10` becomes `ipc='1','10'`: the name of a config file is text to Hydra, and a bare number is
    not."""
    quoted = []
    for word in argv:
        match = _IPC.match(word)
        quoted.append("ipc=" + ",".join(f"'{size}'" for size in match["sizes"].split(",")) if match else word)
    return quoted


def plain_sizes(argv: list[str]) -> list[str]:
    """`ipc.images_per_class=50` becomes `ipc=50`: a paper's cell goes by the option."""
    given = next((match["sizes"] for word in reversed(argv) if (match := _SIZE.match(word))), None)
    if given is None:
        return argv
    return [*(w for w in argv if not w.startswith(("ipc=", "ipc.images_per_class="))), f"ipc={given}"]


def sizes(argv: Sequence[str]) -> list[str]:
    """The options of `ipc` that the words choose by a number."""
    chosen = filter(None, map(_QUOTED_IPC.match, argv))
    return [size.strip("'\"") for match in chosen for size in match["sizes"].split(",")]


def quote_places(argv: list[str]) -> list[str]:
    """Quote the value of a path that Hydra could not read as it stands, as `dataset.folder=~/My (1)`; a `~`
    is the home folder. Left alone: quoted ones, interpolations, lists, and those with a comma (a sweep)."""
    words = []
    for word in argv:
        match = _PLACE.match(word)
        if match is None or match["place"][0] in "'\"[{$" or "," in match["place"]:
            words.append(word)
            continue
        place = str(Path(match["place"]).expanduser()) if match["place"][0] == "~" else match["place"]
        plain = _PLAIN_PLACE.fullmatch(place)
        words.append(f"{match['key']}=" + (place if plain else _quoted(place)))
    return words


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
            words += [f"{group}=given", f"{group}.source={','.join(map(_quoted, places))}"]
        else:
            words.append(word)
    return words


def open_mappings(argv: list[str]) -> list[str]:
    """`method.base_settings.iterations=7` becomes Hydra's `++...`: the file leaves that mapping open."""
    return [f"++{word}" if _is_in_open_mapping(word) else word for word in argv]


def open_fields(argv: list[str]) -> list[str]:
    """In a sweep over methods, `method.iterations=7` becomes `++...` if some of them have no such field: the
    plan of each of these refuses it, and the others run."""
    fields = [keys_of(conf_dir() / "method" / f"{name}.yaml") for name in methods(argv)]
    every = frozenset[str]().union(*fields)
    some = {field for field in every if any(field not in own for own in fields)}

    def opened(word: str) -> str:
        match = _METHOD_FIELD.match(word)
        return f"++{word}" if match and match["field"] in some else word

    return [opened(word) for word in argv]


def without_places(words: Sequence[str]) -> list[str]:
    """The words that say what a run is, without those that say where things lie on one machine."""
    places = (
        "data_root=",
        "products_root=",
        "runs_root=",
        "cache_root=",
        "tables_root=",
        "force=",
        "threads=",
        "time_limit=",
        "hydra",
    )
    return [word for word in words if not word.startswith(places)]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def _unquoted(text: str) -> str:
    """A value of Hydra's without the quotes around it."""
    if text[0] != text[-1] or text[0] not in "'\"" or len(text) < 2:
        return text
    return text[1:-1].replace(f"\\{text[0]}", text[0])


def _is_place(text: str) -> bool:
    return bool(text) and ("/" in text or text.endswith(".safetensors") or Path(text).exists())


def _is_in_open_mapping(word: str) -> bool:
    match = _WITHIN.match(word)
    if match is None or match["group"] not in groups():
        return False
    files = (conf_dir() / match["group"]).rglob("*.yaml")
    return any(re.search(rf"^{match['field']}: \{{\}}", file.read_text(), re.MULTILINE) for file in files)
