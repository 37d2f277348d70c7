"""From the composed config to a plan: everything typed, in range, and identified, before any data is
loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill_bench.catalogue import method_module
from distill_bench.contract import MethodInfo
from distill_bench.errors import UserError, closest, require
from distill_bench.groups import GROUPS, ProfileConfig
from distill_bench.overrides import without_places
from distill_bench.store import content_key

__all__ = ["Plan", "Settings", "plan_run", "typed"]


@dataclass(kw_only=True)
class Settings:
    """The top level of the config: what is not part of a group."""

    seed: int = 0
    device: str = "auto"
    force: bool = False
    data_root: str = "data"
    runs_root: str = "runs"
    cache_root: str = "cache"
    results_root: str = "results"
    checkpoint_seconds: float = 30.0
    threads: int = 0
    experiment_name: str = ""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        require(self.threads >= 0, "threads", self.threads, ">= 0")
        require(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, ">= 0")
        known = self.device in ("auto", "cpu", "cuda") or self.device.removeprefix("cuda:").isdigit()
        require(known, "device", self.device, "auto, cpu, cuda or cuda:<index>")


@dataclass(kw_only=True)
class TrackerConfig:
    """`tracker=`: what mirrors the local files."""

    mirror: str = "none"
    project: str = "distill_bench"
    mode: str = "offline"

    def __post_init__(self) -> None:
        require(self.mirror in ("none", "wandb"), "tracker.mirror", self.mirror, "none or wandb")
        modes = ("offline", "online", "disabled")
        require(self.mode in modes, "tracker.mode", self.mode, ", ".join(modes))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that has passed every check."""

    module: ModuleType  # the method's
    method: Any  # its Config
    groups: dict[str, Any]  # the typed groups, all of GROUPS; those that are not used hold their defaults
    settings: Settings
    tracker: TrackerConfig
    labels: dict[str, Any]  # the choices that tables show
    identity: dict[str, Any]  # everything that the result depends on, and nothing else
    caps: dict[str, int]  # the profile's upper bounds on settings of a method
    command: str

    @property
    def info(self) -> MethodInfo:
        """The method's facts."""
        return self.module.INFO

    @property
    def cell_id(self) -> str:
        """Names the run up to its seed."""
        return content_key({key: value for key, value in self.identity.items() if key != "seed"})

    @property
    def run_id(self) -> str:
        """Names the run: readable choices and a hash of the identity."""
        shown = [str(self.labels[key]) for key in ("dataset", "mixture") if key in self.labels]
        size = [f"ipc{self.labels['ipc']}"] if "ipc" in self.labels else []
        key = content_key(self.identity)[:8]
        return "_".join([self.identity["method"]["name"], *shown, *size, f"seed{self.settings.seed}", key])


def plan_run(config: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]) -> Plan:
    """Check a composed config and name the run.

    `choices` are the chosen option of each group, `overrides` the words that the user (or a sweep) gave for
    this run. Raises UserError, one line, for the first thing that is wrong.
    """
    _refuse_foreign_preset(choices)
    module = method_module(choices["method"])
    info: MethodInfo = module.INFO
    given = dict(_split(word) for word in overrides)
    _refuse_unused(info, choices["method"], given)
    profile = typed(ProfileConfig, config.profile, "profile")
    used = {name: config[name] for name in ("method", *info.uses)}
    nodes = {name: _capped(node, profile.caps.get(name, {}), name, given) for name, node in used.items()}
    method = typed(module.Config, nodes["method"], "method")
    groups = {n: typed(kind, nodes[n], n) if n in nodes else kind() for n, kind in GROUPS.items()}
    named = {f.name for f in fields(Settings)}
    root = OmegaConf.create({key: config[key] for key in config if key in named})
    settings = typed(Settings, root, "")
    plan = Plan(
        module=module,
        method=method,
        groups=groups,
        settings=settings,
        tracker=typed(TrackerConfig, config.tracker, "tracker"),
        labels=_labels(info, choices, groups, profile.name),
        identity=_identity(method, groups, info, settings.seed, profile.name),
        caps=profile.caps.get("method", {}),
        command=" ".join(["python run.py", *without_places(overrides)]),
    )
    _check_ipc(plan)
    return plan


def typed(kind: type, node: Any, where: str) -> Any:
    """Merge `node` into the dataclass `kind`: an unknown key, a wrong type or a value out of range is one
    line."""
    prefix = f"{where}." if where else ""
    content = OmegaConf.to_container(node, resolve=True)
    assert isinstance(content, dict)
    known = [field.name for field in fields(kind)]
    items = {str(key): value for key, value in content.items()}
    for key in items:
        if key not in known:
            raise UserError(f"{prefix}{key}: unknown key; {closest(key, known)}")
    schema = OmegaConf.structured(kind)
    for key, value in items.items():
        try:
            schema[key] = value
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{prefix}{key}={value}: {reason}") from None
    return OmegaConf.to_object(schema)


def plain(value: Any) -> Any:
    """A config object as JSON: enums by name."""
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(child) for key, child in value.items()}
    return [plain(child) for child in value] if isinstance(value, (list, tuple)) else value


def _split(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.lstrip("+~").split("@")[0], value


def _refuse_foreign_preset(choices: Mapping[str, str]) -> None:
    """A preset lies in the folder of its method: ``datadam/repo``."""
    preset, method = choices.get("preset", "none"), choices["method"]
    owner = preset.split("/")[0]
    if preset != "none" and owner != method:
        raise UserError(f"preset={preset}: settings of method={owner}, not of method={method}")


def _refuse_unused(info: MethodInfo, name: str, given: Mapping[str, str]) -> None:
    for key, value in given.items():
        group = key.split(".")[0].split("/")[0]
        if group in GROUPS and group not in info.uses:
            uses = ", ".join(info.uses)
            raise UserError(f"{key}={value}: method={name} does not use {group} (it uses: {uses})")


def _capped(node: DictConfig, caps: Mapping[str, int], group: str, given: Mapping[str, str]) -> DictConfig:
    """`node` with every field at most its cap, but for those that the user set."""
    capped = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    assert isinstance(capped, DictConfig)
    for key, largest in caps.items():
        value = capped.get(key)
        if isinstance(value, (int, float)) and value > largest and f"{group}.{key}" not in given:
            capped[key] = largest
    return capped


def _labels(
    info: MethodInfo, choices: Mapping[str, str], groups: Mapping[str, Any], profile: str
) -> dict[str, Any]:
    labels: dict[str, Any] = {name: choices[name] for name in info.uses if name != "ipc"}
    if "ipc" in info.uses:
        labels["ipc"] = groups["ipc"].images_per_class
    if "mixture" in info.uses:
        mixture = groups["mixture"]
        labels |= {key: getattr(mixture, key) for key in ("components", "target", "dimension")}
    return {**labels, "profile": profile}


def _identity(
    method: Any, groups: Mapping[str, Any], info: MethodInfo, seed: int, profile: str
) -> dict[str, Any]:
    used = {name: plain(groups[name]) for name in info.uses}
    if "dataset" in used and used["dataset"]["source"] != "imagefolder":
        del used["dataset"]["folder"]  # where a known data set lies does not change what it is
    return {"method": plain(method), **used, "seed": seed, "profile": profile}


def _check_ipc(plan: Plan) -> None:
    if "ipc" in plan.info.uses:
        wanted, smallest = plan.groups["ipc"].images_per_class, plan.groups["dataset"].smallest_class
        name = plan.groups["dataset"].name
        allowed = f"at most {smallest}, the training images of the smallest class of dataset={name}"
        require(smallest == 0 or wanted <= smallest, "ipc.images_per_class", wanted, allowed)
