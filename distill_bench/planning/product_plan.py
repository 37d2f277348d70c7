"""The plan of one product: its method, typed groups and parts, and the identity that follows from them."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill_bench.catalogue import group_options, method_module, task_module
from distill_bench.contract import MethodInfo, ProductSpec
from distill_bench.errors import UserError, closest, require
from distill_bench.groups import GROUPS, DatasetConfig, plain
from distill_bench.planning.capped import capped_nodes
from distill_bench.planning.composition import Composition, compose
from distill_bench.planning.given import GivenProduct, plan_given, refuse_other_images
from distill_bench.planning.inputs import input_stamps
from distill_bench.planning.typed import resolved, typed
from distill_bench.store import content_key

__all__ = [
    "Parts",
    "ProductPlan",
    "cells_of",
    "default_composition",
    "labels_of",
    "measured_groups",
    "plan_parts",
    "plan_product",
    "typed_groups",
]

INHERITED = (
    "dataset",
    "student",
    "protocol",
    "mixture",
    "recipe",
    "teacher",
    "profile",
)  # options that a part shares with its asker
_OWN_OF_THE_RUN = ("ipc", "profile", "tracker", "attack")  # values that it does not: a part is not measured


@dataclass(frozen=True, kw_only=True)
class ProductPlan:
    """A product that has passed every check."""

    name: str  # the method's
    module: ModuleType
    config: Any  # the method's Config
    groups: Mapping[str, Any]  # those on which the product depends, and those that its task measures with
    uses: tuple[str, ...]  # the former
    labels: Mapping[str, Any]  # the words of these groups for tables
    profile: str
    seed: int
    inputs: Mapping[str, str]  # stamps of the user's own files
    parts: Parts

    @property
    def info(self) -> MethodInfo:
        """The method's facts."""
        info: MethodInfo = self.module.INFO
        return info

    @property
    def title(self) -> str:
        """What stands above its picture: ``igds · digits · ipc 10 · profile fast · seed 0``."""
        shown = {name: self.labels[name] for name in ("dataset", "mixture", "ipc") if name in self.labels}
        problem = [f"ipc {value}" if name == "ipc" else str(value) for name, value in shown.items()]
        profile = f"profile {self.profile}" + (": means nothing" if self.profile == "smoke" else "")
        return " · ".join([self.name, *problem, profile, f"seed {self.seed}"])

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the product depends on, and nothing else, as JSON."""
        made_from = [part.product_id for _, part in self.parts]
        return {**self._cell, "made_from": made_from, "seed": self.seed}

    @property
    def product_id(self) -> str:
        """Names the product: readable choices, and a hash of the identity."""
        shown = getattr(task_module(self.info.task), "NAMED", _SHOWN)
        words = [
            f"ipc{self.labels[key]}" if key == "ipc" else str(self.labels[key])
            for key in shown
            if key in self.labels
        ]
        readable = [re.sub(r"[^\w.-]+", "-", word).strip("-") for word in (self.name, *words)]
        return "_".join([*readable, f"seed{self.seed}", content_key(self.identity)[:10]])

    @property
    def cell_id(self) -> str:
        """Names the product up to its seed."""
        return content_key({**self._cell, "made_from": cells_of(self.parts)})

    @property
    def _cell(self) -> dict[str, Any]:
        own = {key: value for key, value in plain(self.config).items() if key not in _places(self.config)}
        identities = {name: self.groups[name].product_identity() for name in self.uses}
        groups = {name: identity for name, identity in identities.items() if identity}
        return {"method": own, **groups, "revision": self.info.revision, "inputs": dict(self.inputs)}

    @property
    def reachable(self) -> frozenset[str]:
        """Every group that can change the product: its own, and those of the products it is made from."""
        task = task_module(self.info.task)
        declared = {*self.info.uses, *self.info.uses_when, *task.MEASURED_WITH}
        declared |= getattr(task, "MEASURED_WHEN", {}).keys()
        return frozenset(declared).union(*(part.reachable for _, part in self.parts))

    @property
    def in_use(self) -> frozenset[str]:
        """Every group on which this product, or its measures, do depend with these settings."""
        return frozenset(self.groups).union(*(part.in_use for _, part in self.parts))


Parts = tuple[tuple[ProductSpec, "ProductPlan | GivenProduct"], ...]
"""What something is made from: how it was asked for, and its plan."""


def cells_of(parts: Parts) -> list[str]:
    """The names of the parts up to the seed of what is made from them: a part with a seed of its own, as a
    teacher has, counts with it."""
    return [part.cell_id if spec.seed is None else part.product_id for spec, part in parts]


_SHOWN = ("dataset", "ipc", "mixture")  # words that an id shows


def plan_product(
    composition: Composition, by_hand: Collection[str], seed: int, data_root: Path
) -> ProductPlan:
    """Type the composed config of a product and of its parts, and identify it.

    `by_hand` are the dotted keys that were set by hand, which a profile leaves alone. Raises UserError, one
    line, for the first thing that is wrong.
    """
    name = composition.choices["method"]
    module = method_module(name)
    info: MethodInfo = module.INFO
    task = task_module(info.task)
    possible = (*task.MEASURED_WITH, *getattr(task, "MEASURED_WHEN", {}))
    config, groups = typed_groups(composition, by_hand, (*info.uses, *info.uses_when, *possible))
    uses, measured = info.groups_for(config), measured_groups(task, groups)
    declared = {key: group for key, group in groups.items() if key in uses or key in measured}
    own: Mapping[str, ProductSpec] = module.parts(config, declared) if hasattr(module, "parts") else {}
    specs = [*own.items(), *((key, spec) for key in uses for spec in groups[key].specs())]
    _refuse_missing_teacher(name, uses, groups)
    return ProductPlan(
        name=name,
        module=module,
        config=config,
        groups=declared,
        uses=uses,
        labels=labels_of(composition, declared, by_hand),
        profile=str(composition.config.profile.name),
        seed=seed,
        inputs=input_stamps({"method": config, **{key: groups[key] for key in uses}}, data_root),
        parts=plan_parts(specs, composition, by_hand, seed, data_root),
    )


def measured_groups(task: ModuleType, groups: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups with which the task measures, those that it needs for some settings alone among them."""
    needs = getattr(task, "MEASURED_WHEN", {})
    return (*task.MEASURED_WITH, *(name for name, needed in needs.items() if needed(groups)))


def plan_parts(
    specs: Iterable[tuple[str, ProductSpec]],
    asker: Composition,
    by_hand: Collection[str],
    seed: int,
    data_root: Path,
) -> Parts:
    """The plans of the products for which `asker` asks, each by the key that a message shows."""
    return tuple((spec, _plan_part(key, spec, asker, by_hand, seed, data_root)) for key, spec in specs)


def _refuse_missing_teacher(name: str, uses: Collection[str], groups: Mapping[str, Any]) -> None:
    if "teacher" in uses and not groups["teacher"]:
        raise UserError(
            f"teacher=none: method={name} learns from one: teacher=<a network of student=, a path>"
        )


def typed_groups(
    composition: Composition, by_hand: Collection[str], names: Collection[str]
) -> tuple[Any, dict[str, Any]]:
    """The method's Config and the groups `names`, capped and typed. UserError for a field that cannot be
    used."""
    module = method_module(composition.choices["method"])
    nodes = capped_nodes(composition.config, names, by_hand)
    config = typed(module.Config, nodes.pop("method"), "method")
    groups = {name: typed(GROUPS[name], node, name) for name, node in nodes.items()}
    for key in by_hand:
        group, _, rest = key.partition(".")
        owner: Any = {"method": config, **groups}.get(group)
        unused = owner.unused() if hasattr(owner, "unused") else ()
        if rest.split(".")[0] in unused:
            own = {item.name for item in fields(owner)} - {"name"} - {*unused, *getattr(owner, "NEUTRAL", ())}
            used = ", ".join(sorted(own)) or "none"
            chosen = f"{group}={composition.choices[group]}" + " so set" * (group == "method")
            raise UserError(f"{key}: not used by {chosen}; it uses: {used}")
    return config, groups


def labels_of(
    composition: Composition, groups: Mapping[str, Any], by_hand: Collection[str]
) -> dict[str, Any]:
    """The words of the groups for tables; a network that is named by hand has its own name."""
    labels: dict[str, Any] = {}
    for name, group in groups.items():
        choice = str(composition.choices[name])
        labels |= group.label(group.name if f"{name}.name" in by_hand else choice)
    return labels


def default_composition(composition: Composition) -> Composition:
    """The same options with no value set by hand, by a preset or by an experiment."""
    return compose(composition.words_for_defaults())


def _plan_part(
    key: str, spec: ProductSpec, asker: Composition, by_hand: Collection[str], seed: int, data_root: Path
) -> ProductPlan | GivenProduct:
    """The plan of a product that another is made from: composed like a run of its own, then given what the
    asker's shared groups were given, and what the spec says; or a product that is there."""
    if spec.path:
        given = plan_given(key, spec.path, spec.kind)
        refuse_other_images(key, given, typed(DatasetConfig, asker.config.dataset, "dataset"))
        return given
    makes = task_module(method_module(spec.method).INFO.task).PRODUCT  # a UserError for an unknown method
    require(makes == spec.kind, f"{key}.method", spec.method, f"a method that makes a {spec.kind}")
    for group, option in spec.options.items():
        known = group_options(group)
        if option not in known:
            raise UserError(f"{key}.{group}={option}: no such {group}; {closest(option, known)}")
    not_asked = {*spec.own, *spec.options}
    inherited = {g: asker.choices[g] for g in INHERITED if g not in not_asked}
    words = [f"method='{spec.method}'", *(f"{g}='{o}'" for g, o in {**inherited, **spec.options}.items())]
    size = {"images_per_class": asker.config.ipc.images_per_class, "canvas": 1}  # a part is not packed
    spec_groups = {**spec.groups, "ipc": {**size, **spec.groups.get("ipc", {})}}
    words.append(f"ipc='{int(spec_groups['ipc']['images_per_class'])}'")
    default = default_composition(asker)
    own_generator = compose([f"method='{asker.choices['method']}'"]).choices["generator"]
    if asker.choices["generator"] != own_generator:
        words.append(f"generator='{asker.choices['generator']}'")
    require("name" not in spec.settings, f"{key}: name", spec.settings.get("name"), "left to the method")
    composition = compose(words)
    composition = replace(composition, config=copy.deepcopy(composition.config))
    shared = GROUPS.keys() - {*_OWN_OF_THE_RUN, *not_asked}
    set_by_hand = {place for place in by_hand if place.split(".")[0] in shared}
    changes = _differences(asker.config, default.config, shared) | _values(asker.config, set_by_hand)
    wishes = {f"method.{k}": v for k, v in spec.settings.items()}
    wishes |= {f"{group}.{k}": v for group, fields in spec_groups.items() for k, v in fields.items()}
    for place, value in {**changes, **wishes}.items():
        OmegaConf.update(composition.config, place, value, force_add=True)
    set_by_hand |= wishes.keys()
    try:
        return plan_product(composition, set_by_hand, seed if spec.seed is None else spec.seed, data_root)
    except UserError as error:
        raise UserError(f"{error} (in {key}, a product of method={spec.method})") from None


def _differences(config: DictConfig, default: DictConfig, groups: Collection[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in groups:
        values, defaults = resolved(config[name], name), default[name]
        changes |= {f"{name}.{k}": v for k, v in values.items() if k not in defaults or defaults[k] != v}
    return changes


def _values(config: DictConfig, places: Collection[str]) -> dict[str, Any]:
    """The values at dotted keys; an option that was chosen has none."""
    return {place: OmegaConf.select(config, place) for place in places if "." in place}


def _places(config: Any) -> Collection[str]:
    return getattr(config, "inputs", dict)().keys()
