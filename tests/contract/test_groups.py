"""Every option of every group is valid, and a group says what of it a result depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from distill_bench.catalogue import group_options
from distill_bench.groups import GROUPS, Group, StudentConfig, TeacherConfig, TrainsetConfig
from distill_bench.overrides import PRODUCT_GROUPS
from distill_bench.planning import Composition, Plan, compose, typed
from distill_bench.planning.capped import capped_nodes

OPTIONS = [(group, option) for group in GROUPS for option in group_options(group)]


def composed(*words: str) -> Composition:
    return compose([word.replace("=", "='") + "'" for word in words])


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda text: text)
def test_every_option_is_valid_as_composed(group: str, option: str) -> None:
    node = composed(f"{group}={option}").config[group]
    assert isinstance(typed(GROUPS[group], node, group), GROUPS[group])


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_a_group_says_what_it_is_in_one_line(group: str) -> None:
    first = " ".join((GROUPS[group].__doc__ or "").split("\n\n")[0].split())
    assert 10 < len(first) < 130


OWN = [name for name, kind in GROUPS.items() if issubclass(kind, Group) and name not in PRODUCT_GROUPS]


@pytest.mark.parametrize("name", sorted(OWN))
def test_an_identity_leaves_out_places_speed_and_fields_without_effect_alone(name: str) -> None:
    config = GROUPS[name]()
    left_out = {field.name for field in dataclasses.fields(config)} - config.identity().keys()
    assert left_out == (config.NEUTRAL | config.unused() | config.idle()) & {
        field.name for field in dataclasses.fields(config)
    }


CHANGES: dict[str, dict[str, Any]] = {
    "teacher": {
        "name": "convnet",
        "width": 9,
        "depth": 3,
        "method": "kd",
        "settings": {"smoothing": 0.2},
        "recipe": "crd_240",
        "trainset": {"fraction": 0.5},
        "seed": 3,
        "count": 2,
    },
    "trainset": {
        "method": "random",
        "images_per_class": 9,
        "settings": {"iterations": 2},
        "student": "mlp",
    },
}


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, fields in CHANGES.items() for field in fields]
)
def test_a_group_of_products_counts_by_what_it_asks_for(name: str, field: str) -> None:
    asked = {"teacher": {"name": "mlp"}, "trainset": {"name": "dm", "method": "dm"}}[name]
    config, other = GROUPS[name](**asked), GROUPS[name](**{**asked, field: CHANGES[name][field]})
    assert not config.identity() and not other.identity()
    assert config.specs() and config.specs() != other.specs()


def test_a_group_that_asks_for_no_product_counts_for_nothing_or_by_itself() -> None:
    assert not TeacherConfig().specs() and not TeacherConfig().identity()
    assert not TrainsetConfig().specs() and not TrainsetConfig().identity()
    assert TrainsetConfig(fraction=0.5).identity() == {"fraction": 0.5}


def test_a_network_without_a_width_has_none_in_its_identity() -> None:
    assert StudentConfig(name="resnet18", width=64).identity() == StudentConfig(name="resnet18").identity()
    assert StudentConfig(width=64).identity() != StudentConfig().identity()


@pytest.mark.parametrize("words", [["method.iterations=5000"], ["method={iterations: 5000}"]], ids=str)
def test_a_value_given_in_any_form_is_left_alone_by_a_profile(
    plan: Callable[..., Plan], words: list[str]
) -> None:
    assert plan("method=dm", "profile=fast", *words).product.config.iterations == 5000


def test_a_cap_reaches_what_is_larger_alone() -> None:
    nodes = capped_nodes(composed("profile=smoke", "method=dm").config, ["student"], by_hand=())
    assert (nodes["method"]["iterations"], nodes["student"]["width"], nodes["method"]["momentum_image"]) == (
        4,
        8,
        0.5,
    )
