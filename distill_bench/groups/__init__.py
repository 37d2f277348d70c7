"""The typed form of every config group: types, ranges, units. One file a group; nothing heavy is imported
here.

`<group>.py` holds the class `<Group>Config` and the enums of its fields. A group's yaml is merged into its
class after Hydra has composed, so a misspelt key, a wrong type or a value out of range is one clear line
before any data is loaded. The first line of the class's docstring is the group's line in `--help`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from distill_bench.groups.attack import AttackConfig, AttackKind, AttackLoss, AttackNorm
from distill_bench.groups.dataset import DatasetConfig, Statistics
from distill_bench.groups.generator import GeneratorConfig, GeneratorKind, Sampler, Timesteps, Variance
from distill_bench.groups.group import Group, plain
from distill_bench.groups.ipc import IpcConfig
from distill_bench.groups.mixture import MixtureConfig, MixtureKind
from distill_bench.groups.profile import ProfileConfig
from distill_bench.groups.protocol import Batching, Initial, Labels, Pack, ProtocolConfig
from distill_bench.groups.recipe import Augmentation, Optimiser, Recipe, RecipeConfig, Schedule
from distill_bench.groups.student import Norm, Pooling, StudentConfig
from distill_bench.groups.teacher import TeacherConfig
from distill_bench.groups.tracker import TrackerConfig
from distill_bench.groups.trainset import TrainsetConfig

__all__ = [
    "GROUPS",
    "AttackConfig",
    "AttackKind",
    "AttackLoss",
    "AttackNorm",
    "Augmentation",
    "Batching",
    "DatasetConfig",
    "GeneratorConfig",
    "GeneratorKind",
    "Group",
    "Initial",
    "IpcConfig",
    "Labels",
    "MixtureConfig",
    "MixtureKind",
    "Norm",
    "Optimiser",
    "Pack",
    "Pooling",
    "ProfileConfig",
    "ProtocolConfig",
    "Recipe",
    "RecipeConfig",
    "Sampler",
    "Schedule",
    "Statistics",
    "StudentConfig",
    "TeacherConfig",
    "Timesteps",
    "TrackerConfig",
    "TrainsetConfig",
    "Variance",
    "plain",
]


def _class_of(file: Path) -> type:
    """The class of a group's file."""
    return getattr(import_module(f"{__name__}.{file.stem}"), f"{file.stem.title()}Config")


GROUPS: dict[str, type] = {
    file.stem: _class_of(file)
    for file in sorted(Path(__file__).parent.glob("*.py"))
    if file.stem not in ("__init__", "group")
}
"""Every group's class by the group's name."""
