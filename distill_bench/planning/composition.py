"""A composed config: what Hydra made of the words, the option chosen of each group, and what was given by
hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill_bench.catalogue import borrowed_options, conf_dir, group_options
from distill_bench.groups import GROUPS
from distill_bench.overrides import sizes

__all__ = ["Composition", "compose", "given_values", "register_options"]


@dataclass(frozen=True)
class Composition:
    """The config of one run before it is typed; `words` are those that the user (or a sweep) gave for it."""

    config: DictConfig
    choices: Mapping[str, str]
    words: Sequence[str]

    def words_for_defaults(self) -> list[str]:
        """The words that choose the same options, and nothing else."""
        options = {group: self.choices[group] for group in (*GROUPS, "method") if group in self.choices}
        no_cell = ["cell=none"] if self.choices.get("cell") == "none" else []
        return [*(f"{group}='{option}'" for group, option in options.items()), *no_cell]


def compose(words: Sequence[str]) -> Composition:
    """Compose the config of `words` as the command line does, in a running Hydra application or without one.

    Equal words are composed once a process: the config is not to be changed.
    """
    return _composed(tuple(words))


@cache
def _composed(words: tuple[str, ...]) -> Composition:
    from hydra import compose as compose_config
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_options(words)
    running = GlobalHydra.instance().is_initialized()
    folder = str(conf_dir())
    with nullcontext() if running else initialize_config_dir(version_base="1.3", config_dir=folder):
        config = compose_config("config", overrides=list(words), return_hydra_config=True)
    choices = dict(config.hydra.runtime.choices)
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return Composition(plain, choices, words)


def register_options(words: Sequence[str]) -> None:
    """Tell Hydra of the options that have no file of their own: those of `catalogue.borrowed_options`, and
    the numbers of images per class that the words choose."""
    from hydra.core.config_store import ConfigStore

    _register_borrowed()
    for size in set(sizes(words)) - set(group_options("ipc")):
        ConfigStore.instance().store(group="ipc", name=size, node={"images_per_class": int(size)})


@cache
def _register_borrowed() -> None:
    """Once a process. Hydra reads the files that they build on where one is chosen."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for option in borrowed_options("teacher"):
        defaults = ["none", f"/student/{option}@_here_", "_self_"]
        store.store(group="teacher", name=option, node={"defaults": defaults})
    for option in borrowed_options("trainset"):
        node = {"defaults": ["full", "_self_"], "name": option, "method": option}
        store.store(group="trainset", name=option, node=node)


def given_values(words: Sequence[str]) -> dict[str, Any]:
    """What the words set, by dotted key: ``method={iterations: 5}`` sets ``method.iterations``, as its own
    word does.

    A word that chooses an option has the group as its key, without the package behind an @.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    values: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(overrides=list(words)):
        key = str(override.key_or_group).split("@")[0]
        values |= _leaves(key, None if override.is_delete() else override.value())
    return values


def _leaves(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {key: value}
    leaves: dict[str, Any] = {}
    for name, child in value.items():
        leaves |= _leaves(f"{key}.{name}", child)
    return leaves
