"""The plan of one run: a product, and what its task measures it with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill_bench.catalogue import task_module
from distill_bench.errors import UserError, closest, require
from distill_bench.groups import GROUPS, Pack, TrackerConfig
from distill_bench.overrides import without_places
from distill_bench.planning.composition import Composition, compose, given_values
from distill_bench.planning.options import Options
from distill_bench.planning.product_plan import (
    Parts,
    ProductPlan,
    cells_of,
    default_composition,
    measured_groups,
    plan_parts,
    plan_product,
    typed_groups,
)
from distill_bench.planning.settings import settings_between
from distill_bench.planning.typed import typed
from distill_bench.store import content_key

__all__ = ["Plan", "plan_run"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that has passed every check."""

    product: ProductPlan
    measured_with: Mapping[str, Any]  # the groups that the task measures with
    parts: Parts  # the products that it measures with, beside the one it measures
    options: Options
    tracker: TrackerConfig
    axes: dict[str, Any]  # where the run stands in its task's tables
    protocol: str  # empty for a task without one
    settings: dict[str, Any]  # what differs from the composed default
    command: str

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the result depends on beside the product, and the product's id."""
        made_with = [part.product_id for _, part in self.parts]
        measured = self._measured(lambda group: group.identity())
        return {"product": self.product.product_id, **measured, **_if_any(made_with), **self._place}

    @property
    def cell_id(self) -> str:
        """Names the run up to its seed, and to measures that touch no other."""
        made_with = cells_of(self.parts)
        measured = self._measured(
            lambda group: {key: value for key, value in group.identity().items() if key not in group.ADDED}
        )
        return content_key({"product": self.product.cell_id, **measured, **_if_any(made_with), **self._place})

    def _measured(self, identity: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """The identities of the groups, without those on which nothing depends."""
        identities = {name: identity(group) for name, group in self.measured_with.items()}
        return {name: own for name, own in identities.items() if own}

    @property
    def _place(self) -> dict[str, Any]:
        """Where the result stands in tables: options of other names may be equal, but are other rows."""
        return {"axes": self.axes, "profile": self.product.profile}

    @property
    def run_id(self) -> str:
        """Names the run: the words of its product and its protocol, and a hash of the identity."""
        words = self.product.product_id.split("_")[:-2]
        measured = [self.protocol] if self.protocol else []
        return "_".join([*words, *measured, f"seed{self.options.seed}", content_key(self.identity)[:10]])


def plan_run(config: DictConfig, choices: Mapping[str, str], words: Sequence[str]) -> Plan:
    """Check a composed config and name the run.

    `choices` are the chosen option of each group, `words` those that the user (or a sweep) gave for this run.
    Raises UserError, one line, for the first thing that is wrong.
    """
    composition = Composition(config, choices, words)
    _refuse_foreign_preset(choices)
    by_hand = given_values(words)
    _refuse_names(by_hand)
    names = {field.name for field in fields(Options)}
    _refuse_unknown(config, names)
    options: Options = typed(Options, OmegaConf.masked_copy(config, [*names]), "")
    product = plan_product(composition, by_hand, options.seed, Path(options.data_root))
    task = task_module(product.info.task)
    measured = measured_groups(task, product.groups)
    wanted = ((name, spec) for name in measured for spec in product.groups[name].specs())
    parts = plan_parts(wanted, composition, by_hand, options.seed, Path(options.data_root))
    _refuse_unused(product, parts, by_hand)
    protocol = str(choices["protocol"]) if "protocol" in task.MEASURED_WITH else ""
    plan = Plan(
        product=product,
        measured_with={name: product.groups[name] for name in measured},
        parts=parts,
        options=options,
        tracker=typed(TrackerConfig, config.tracker, "tracker"),
        axes={axis: product.labels.get(word, "none") for axis, word in task.TABLE.items()},
        protocol=protocol,
        settings=_settings(composition, product, by_hand, set(task.TABLE.values())),
        command=" ".join(["python run.py", *without_places(words)]),
    )
    _check_ipc(product, choices)
    return plan


def _settings(
    composition: Composition, product: ProductPlan, by_hand: Mapping[str, Any], labelled: set[str]
) -> dict[str, Any]:
    """What differs from the composed default, and the options of groups that stand on no axis."""
    default = default_composition(composition)
    config, groups = typed_groups(default, (), product.groups)
    settings = settings_between({"method": product.config, **product.groups}, {"method": config, **groups})
    weights = {key: value for key, value in product.inputs.items() if not key.startswith("dataset.")}
    settings |= weights  # by their stamps
    plain_choices = compose([f"method='{product.name}'"]).choices
    for name in sorted(product.reachable - labelled - {"protocol"}):
        if composition.choices[name] != plain_choices[name]:
            settings[name] = composition.choices[name]
    return settings | _settings_of_parts(composition, product, by_hand, settings)


def _settings_of_parts(
    composition: Composition, product: ProductPlan, by_hand: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What was given by hand that is the default here, but not of what the product is made from."""
    own, data_root = cells_of(product.parts), Path(composition.config.data_root)

    def reaches_a_part(key: str) -> bool:
        without = plan_product(composition, by_hand.keys() - {key}, product.seed, data_root)
        return cells_of(without.parts) != own

    group_of = {key: key.split(".")[0] for key in by_hand if "." in key and key not in settings}
    silent = [key for key, group in group_of.items() if own and group in product.reachable]
    return {key: by_hand[key] for key in silent if reaches_a_part(key)}


def _refuse_foreign_preset(choices: Mapping[str, str]) -> None:
    """A preset lies in the folder of its method: ``datadam/repo``."""
    preset, method = choices.get("preset", "none"), choices["method"]
    owner = preset.split("/")[0]
    if preset != "none" and owner != method:
        raise UserError(f"preset={preset}: settings of method={owner}, not of method={method}")


def _refuse_names(by_hand: Mapping[str, Any]) -> None:
    """An option's name stands in tables, so it is not a setting; only a network may be named by hand."""
    for key, value in by_hand.items():
        group, _, field = key.partition(".")
        if field == "name" and group in (*GROUPS, "method") and group != "student":
            raise UserError(
                f"{key}={value}: the name of an option cannot be set; choose one with {group}=..."
            )


def _refuse_unknown(config: DictConfig, names: Collection[str]) -> None:
    """A key of no group at the top level, as `+sede=1` leaves, has no effect."""
    known = {*names, *GROUPS, "method", "hydra"}
    for key in map(str, config):
        if key not in known:
            raise UserError(f"{key}: unknown key; {closest(key, known)}")


def _if_any(made_with: list[str]) -> dict[str, Any]:
    return {"measured_with": made_with} if made_with else {}


def _refuse_unused(product: ProductPlan, parts: Parts, by_hand: Mapping[str, Any]) -> None:
    """UserError for a group that was given and that nothing here depends on."""
    reachable = product.reachable.union(*(part.reachable for _, part in parts), {"profile", "tracker"})
    in_use = product.in_use.union(*(part.in_use for _, part in parts), {"profile", "tracker"})
    for key, value in by_hand.items():
        group = key.split(".")[0].split("/")[0]
        if group not in GROUPS or group in in_use or value == "none":
            continue
        reason = "with these settings" if group in reachable else f"(it uses: {', '.join(sorted(in_use))})"
        raise UserError(f"{key}={value}: method={product.name} does not use {group} {reason}")


def _check_ipc(product: ProductPlan, choices: Mapping[str, str]) -> None:
    """UserError for more images than a class has."""
    groups = product.groups
    if "ipc" not in groups or "dataset" not in groups:
        return
    ipc, dataset = groups["ipc"], groups["dataset"]
    most = dataset.smallest_class // ipc.canvas**2
    allowed = f"at most {most}, the training images of the smallest class of {product.labels['dataset']}"
    allowed += f", {ipc.canvas**2} on a canvas" if ipc.canvas > 1 else ""
    fits = not dataset.smallest_class or ipc.images_per_class <= most
    require(fits, "ipc.images_per_class", ipc.images_per_class, allowed)
    if "protocol" in groups:
        _check_canvas(ipc.canvas, dataset, groups["protocol"], choices["protocol"])


def _check_canvas(canvas: int, dataset: Any, protocol: Any, choice: str) -> None:
    """UserError where the protocol packs other canvases than the method makes images for, or cannot pack
    them."""
    allowed = f"{protocol.canvas}, the images a side of a canvas of protocol={choice}"
    require(canvas == protocol.canvas, "ipc.canvas", canvas, allowed)
    if canvas > 1:
        require(not dataset.zca, "dataset.zca", dataset.zca, f"false for canvases (protocol={choice})")
        fits = protocol.pack is Pack.stack or dataset.resolution % canvas == 0
        allowed = f"a multiple of {canvas} for protocol.pack=downscale"
        require(fits, "dataset.resolution", dataset.resolution, allowed)
