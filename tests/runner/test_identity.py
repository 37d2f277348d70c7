"""What a run is called, where it stands in tables, and which of its settings are shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_bench.errors import UserError
from distill_bench.planning import Plan

MakePlan = Callable[..., Plan]
WORDS = ("method=dm", "dataset=digits", "ipc=1")


def test_where_things_lie_does_not_change_what_a_run_is(plan: MakePlan) -> None:
    here = plan(*WORDS)
    assert here.run_id == plan(*WORDS, "checkpoint_seconds=1", "force=true", "tracker=wandb").run_id
    assert here.run_id == plan(*WORDS, "data_root=elsewhere", "device=cpu", "threads=1").run_id
    assert "root" not in here.command


def test_seeds_share_a_cell_and_so_do_measures_that_touch_no_other(plan: MakePlan) -> None:
    assert plan(*WORDS, "seed=0").cell_id == plan(*WORDS, "seed=1").cell_id
    assert plan(*WORDS, "protocol.ceiling=true").cell_id == plan(*WORDS).cell_id
    assert plan(*WORDS, "protocol.ceiling=true").run_id != plan(*WORDS).run_id
    for word in ("ipc=5", "protocol.epochs=7", "profile=fast", "method.lr_image=3"):
        assert plan(*WORDS).cell_id != plan(*WORDS, word).cell_id


def test_seeds_of_a_product_made_from_another_share_a_cell(plan: MakePlan) -> None:
    words = ("method=difficulty", "method.base=random")
    assert plan(*words, "seed=0").cell_id == plan(*words, "seed=1").cell_id


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ((), {}),
        (("method.iterations=7",), {"method.iterations": 7}),
        (("method={iterations: 7}",), {"method.iterations": 7}),
        (("protocol.epochs=3", "protocol.ceiling=true"), {"protocol.epochs": 3}),
        (("dataset.classes=[0,1]",), {"dataset.classes": [0, 1]}),
        (("ipc.images_per_class=3",), {}),  # an axis of the table
        (("profile=fast",), {}),
        (("profile=fast", "method.iterations=200"), {}),  # what the profile says anyway
        (("student=resnet18",), {}),
        (("student.width=64",), {"student.width": 64}),
    ],
    ids=str,
)
def test_settings_are_what_differs_from_the_composed_default(
    plan: MakePlan, words: tuple[str, ...], settings: dict[str, object]
) -> None:
    assert plan(*WORDS, *words).settings == settings


def test_settings_are_measured_from_a_papers_own_cell(plan: MakePlan) -> None:
    words = ("method=datadam", "dataset=cifar10", "ipc=10")
    assert plan(*words).product.groups["dataset"].zca
    assert plan(*words).settings == {}
    assert plan(*words, "dataset.zca=false").settings == {"dataset.zca": False}
    assert plan("method=dm", "dataset=cifar10", "ipc=10").settings == {}


def test_another_generator_is_a_setting(plan: MakePlan) -> None:
    assert plan("method=d2m", "generator=small_cgan").settings["generator"] == "small_cgan"
    assert plan("method=d2m").settings == {}


def test_a_network_named_by_hand_has_its_own_name_in_tables(plan: MakePlan) -> None:
    """`student=convnet student.name=alexnet` once read as a set distilled with a convnet."""
    assert plan(*WORDS, "student.name=alexnet").axes["distiller"] == "alexnet"
    assert plan(*WORDS, "student=convnet_bn").axes["distiller"] == "convnet_bn"


def test_a_field_that_a_network_does_not_have_is_refused(plan: MakePlan) -> None:
    with pytest.raises(UserError, match=r"student\.width: not used by student=resnet18; it uses: norm"):
        plan(*WORDS, "student=resnet18", "student.width=64")


def test_a_group_that_a_method_does_not_use_is_refused_and_no_part_of_its_identity(plan: MakePlan) -> None:
    with pytest.raises(UserError, match="does not use mixture"):
        plan(*WORDS, "mixture.target=3")
    assert set(plan("method=oggmr").identity) == {"product", "mixture", "axes", "profile"}


def test_a_profile_bounds_what_is_larger_and_leaves_what_the_user_set(plan: MakePlan) -> None:
    smoke = plan("method=dm", "profile=smoke").product
    assert (smoke.config.iterations, smoke.groups["protocol"].nets) == (4, 2)
    assert plan("method=dm", "profile=smoke", "method.iterations=77").product.config.iterations == 77
    assert plan("method=dm", "profile=fast", "method.iterations=3").product.config.iterations == 3


def test_other_weights_at_one_place_are_another_product_and_their_place_is_none(
    plan: MakePlan, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    words = ("method=diffusion", f"generator.path={file}")
    file.write_bytes(b"old")
    before = plan(*words).product.product_id
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(b"old")
    os.utime(moved, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    assert plan("method=diffusion", f"generator.path={moved}").product.product_id == before
    file.write_bytes(b"new")
    os.utime(file, (1, 1))
    assert plan(*words).product.product_id != before


def test_how_many_images_are_drawn_together_is_no_part_of_a_product(plan: MakePlan) -> None:
    ids = {plan("method=diffusion", f"generator.sampling_batch={n}").product.product_id for n in (32, 64)}
    assert len(ids) == 1


def test_given_weights_are_a_setting_by_their_content(plan: MakePlan, tmp_path: Path) -> None:
    """Rows of two files of weights once overwrote each other."""
    settings = []
    for name in ("a", "bb"):
        (tmp_path / name).write_text(name)
        settings.append(plan("method=diffusion", f"generator.path={tmp_path / name}").settings)
    assert settings[0] != settings[1]
    assert all(set(found) == {"generator.path"} for found in settings)


def test_a_size_given_by_its_number_has_the_cell_of_that_size(plan: MakePlan) -> None:
    """`ipc.images_per_class=50` once had a paper's settings for 10 images, unmarked."""
    words = ("method=mtt", "dataset=cifar10")
    same = [plan(*words, word).product.product_id for word in ("ipc=50", "ipc.images_per_class=50")]
    assert same[0] == same[1]
    other = plan(*words, "ipc.images_per_class=7")
    assert not other.product.groups["dataset"].zca  # which the cell of 10 images has
    assert other.settings == {}
