"""The networks of this package by name, with their facts as data: what changes them, what they count, what
they show on the way. Nothing heavy is imported here.

Those of the literature stand in a table. Any other is found by its file: `models/<name>.py` with the line
`NETWORK = <its class>`, whose facts are read from the text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from distill_bench.errors import UserError

__all__ = ["ARCHITECTURES", "FIELDS", "Architecture", "Count", "architecture", "names", "own_names"]

FIELDS = frozenset({"width", "depth", "norm", "pooling"})
"""The fields of a network's config that change some networks and not others."""

_MODELS = Path(__file__).resolve().parent / "models"

FOREIGN = "timm"
"""The family of every name that is not of this package."""


class Count(NamedTuple):
    """A published number of parameters, for images of three channels."""

    classes: int
    resolution: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The facts of one name. Sizes are those of the default fields, for 32-pixel images of three
    channels."""

    name: str
    family: str  # a key of `models.build.FAMILIES`, the name of a file, or `FOREIGN`
    options: Mapping[str, Any] = field(default_factory=dict)  # what tells it from others of its family
    fields: frozenset[str] = frozenset()  # those of `FIELDS` that change it
    stacked: bool = True  # several networks train in one pass
    batch_norm: bool = False  # always, whatever the field `norm`
    counts: tuple[Count, ...] = ()
    maps: tuple[tuple[int, int], ...] = ()  # (channels, side) of each of `Features.maps`
    embedding: int = 0  # its length

    @property
    def ours(self) -> bool:
        """Whether it is of this package, and not a name for timm."""
        return self.family != FOREIGN


def _one(name: str, counts: tuple[Count, ...], maps: list[tuple[int, int]], **facts: Any) -> Architecture:
    return Architecture(name=name, family=name, counts=counts, maps=tuple(maps), **facts)


def _residual(name: str, depth: int, widths: list[int], parameters: int) -> Architecture:
    """A residual network for CIFAR: a stem and three stages of (depth - 2) / 6 blocks."""
    maps = tuple(zip(widths, (32, 32, 16, 8), strict=True))
    return Architecture(
        name=name,
        family="resnet_cifar",
        options={"depth": depth, "widths": widths},
        batch_norm=True,
        counts=(Count(100, 32, parameters),),
        maps=maps,
        embedding=widths[-1],
    )


_RESIDUAL = {8: 83_892, 14: 181_108, 20: 278_324, 32: 472_756, 44: 667_188, 56: 861_620, 110: 1_736_564}
"""Parameters of the residual networks for CIFAR by depth, counted in the reference networks of CRD."""

_WIDE = {
    (16, 1): Count(100, 32, 180_916),
    (40, 1): Count(100, 32, 569_780),
    (16, 2): Count(100, 32, 703_284),
    (40, 2): Count(100, 32, 2_255_156),
    (28, 10): Count(10, 32, 36_479_194),  # as recalled, like the next
    (34, 10): Count(10, 32, 46_160_474),
}
"""Parameters of wide residual networks by depth and width, counted in the reference networks of CRD."""

_CONVNET = [Count(10, 32, 320_010), Count(100, 32, 504_420), Count(200, 64, 857_160)]
_STAGES = [(64, 32), (128, 16), (256, 8), (512, 4)]
_NORM = frozenset({"norm"})

ARCHITECTURES: dict[str, Architecture] = {
    facts.name: facts
    for facts in (
        _one("convnet", tuple(_CONVNET), [(128, 32), (128, 16), (128, 8)], embedding=2048, fields=FIELDS),
        _one("convnet6", (), [(128, s) for s in (32, 16, 8, 4, 2, 2)], embedding=128, fields=FIELDS),
        _one("alexnet", (Count(10, 32, 1_872_202),), [(128, 32), (192, 16), (192, 8)], embedding=3072),
        _one("vgg11", (Count(10, 32, 9_231_114),), [*_STAGES, (512, 2)], embedding=512, fields=_NORM),
        _one("resnet18", (Count(10, 32, 11_173_962),), _STAGES, embedding=512, fields=_NORM),
        _one("resnetap10", (), _STAGES, embedding=512, fields=_NORM),
        _one("mlp", (), [(128, 1), (128, 1)], embedding=128, fields=frozenset({"width", "depth"})),
        *(_residual(f"resnet{depth}", depth, [16, 16, 32, 64], n) for depth, n in _RESIDUAL.items()),
        _residual("resnet8x4", 8, [32, 64, 128, 256], 1_233_540),
        _residual("resnet32x4", 32, [32, 64, 128, 256], 7_433_860),
    )
}
"""Every network with a name of its own. `wrn_<depth>_<width>` is a family without end: see `architecture`."""


@cache
def architecture(name: str, key: str = "student.name") -> Architecture:
    """The facts of the network `name`; of a name that is not this package's, that it is timm's.

    UserError at `key` for a wide residual network that there cannot be.
    """
    known = ARCHITECTURES.get(name) or _by_file(name) or _wide(name, key)
    return known or Architecture(name=name, family=FOREIGN, stacked=False)


def names() -> list[str]:
    """What an error lists: every name, the pattern of the wide residual networks last."""
    return [*ARCHITECTURES, *own_names(), "wrn_<depth>_<width>"]


def own_names() -> list[str]:
    """The networks that are found by their files."""
    return sorted(file.stem for file in _MODELS.glob("*.py") if _by_file(file.stem))


def _by_file(name: str) -> Architecture | None:
    """The facts of the class that `models/<name>.py` declares as `NETWORK`, if it does.

    The arguments of its constructor that are `FIELDS` are the fields that change it. It has batch norm
    whatever the field `norm` if it says ``batch_norm = True``.
    """
    file = _MODELS / f"{name}.py"
    if not name.isidentifier() or not file.is_file():
        return None
    body = ast.parse(file.read_text(encoding="utf-8")).body
    declared = {ast.unparse(node) for node in body if isinstance(node, ast.Assign)}
    for node in body:
        if isinstance(node, ast.ClassDef) and f"NETWORK = {node.name}" in declared:
            texts = {ast.unparse(part) for part in node.body if isinstance(part, (ast.Assign, ast.AnnAssign))}
            makers = (
                part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"
            )
            arguments = {argument.arg for maker in makers for argument in maker.args.kwonlyargs}
            batch_norm = any(text.startswith("batch_norm") and text.endswith("True") for text in texts)
            return Architecture(name=name, family=name, fields=FIELDS & arguments, batch_norm=batch_norm)
    return None


def _wide(name: str, key: str) -> Architecture | None:
    """`wrn_d_k`: a stem and three stages of (d - 4) / 6 blocks, k times as wide as a residual network."""
    if not name.startswith("wrn_"):
        return None
    form = re.fullmatch(r"wrn_([1-9]\d*)_([1-9]\d*)", name)
    depth, width = (int(text) for text in form.groups()) if form else (0, 0)
    if depth < 10 or (depth - 4) % 6:
        allowed = "wrn_<depth>_<width>, the depth 4 above a multiple of 6, such as wrn_16_2 or wrn_34_10"
        raise UserError(f"{key}={name}: must be {allowed}")
    widths = [16, 16 * width, 32 * width, 64 * width]
    return Architecture(
        name=name,
        family="wide_resnet",
        options={"depth": depth, "width": width},
        batch_norm=True,
        counts=(_WIDE[depth, width],) if (depth, width) in _WIDE else (),
        maps=tuple(zip(widths, (32, 32, 16, 8), strict=True)),
        embedding=widths[-1],
    )
