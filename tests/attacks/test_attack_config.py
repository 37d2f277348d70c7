"""What `attack=` accepts, what it refuses in one line, and what an identity holds of it."""

from __future__ import annotations

from typing import Any

import pytest

from distill_bench.catalogue import group_options
from distill_bench.errors import UserError
from distill_bench.groups import AttackConfig, AttackKind, AttackNorm
from distill_bench.planning import compose, typed


def attack(**fields: Any) -> AttackConfig:
    return AttackConfig(**{"name": "pgd", "kind": AttackKind.pgd, **fields})


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"eps": -0.1}, "attack.eps=-0.1: must be from 0 to 1"),
        ({"eps": 8.0}, "8/255 is 0.031373"),
        ({"eps": float("nan")}, "attack.eps=nan"),
        ({"eps": 128.0, "norm": AttackNorm.l2}, "attack.eps=128.0: must be from 0 to 20"),
        ({"eps": 2 / 255, "step": 8 / 255}, "attack.step=0.03137.*: must be at most attack.eps"),
        ({"step": 0.0}, "attack.step=0.0: must be > 0 for 10 steps"),
        ({"steps": 0}, "attack.steps=0: must be >= 1"),
        ({"restarts": 0}, "attack.restarts=0: must be >= 1"),
        ({"restarts": 5, "random_start": False}, "attack.restarts=5: must be 1 without attack.random_start"),
        ({"images": -1}, "attack.images=-1: must be >= 1, or 0 for all"),
    ],
    ids=str,
)
def test_a_wrong_value_is_one_line(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        attack(**fields)
    assert "\n" not in str(error.value)


def test_a_radius_of_zero_is_allowed_as_a_control_whatever_the_step() -> None:
    assert attack(eps=0.0).step > 0
    assert attack(eps=0.5, step=0.1, norm=AttackNorm.l2).eps == 0.5


@pytest.mark.parametrize(
    ("kind", "unused"),
    [
        (AttackKind.noise, {"loss", "step", "steps", "random_start"}),
        (AttackKind.fgsm, {"step", "steps", "restarts", "random_start"}),
        (AttackKind.pgd, set()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_fields_that_an_attack_does_not_have_are_unused_and_not_checked(
    kind: AttackKind, unused: set[str]
) -> None:
    config = AttackConfig(name="x", kind=kind, step=9.0 if "step" in unused else 0.01)
    assert config.unused() == unused
    assert not unused & config.identity().keys()


def test_no_attack_adds_nothing_to_an_identity() -> None:
    assert AttackConfig().identity() == {}
    assert AttackConfig(images=100, steps=3).identity() == {}
    assert attack().label("pgd20") == {"attack": "pgd20"}


@pytest.mark.parametrize("name", group_options("attack"))
def test_an_option_has_its_own_name_and_the_radius_of_the_literature(name: str) -> None:
    config = typed(AttackConfig, compose([f"attack={name}"]).config.attack, "attack")
    assert config.name == name
    assert (config.eps, config.step) == (8 / 255, 2 / 255)
    assert name != "pgd20" or config.steps == 20


def test_the_default_run_has_no_attack() -> None:
    assert typed(AttackConfig, compose([]).config.attack, "attack") == AttackConfig()
