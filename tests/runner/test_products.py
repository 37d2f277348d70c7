"""Products are made once, whatever they are measured with, and remade when they are not what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import distill_bench
from distill_bench import catalogue
from distill_bench.data.sources import IMAGENETTE
from distill_bench.errors import UserError
from distill_bench.files import Damaged
from distill_bench.interrupt import Interrupt
from distill_bench.planning import Plan
from distill_bench.runner import execute, finished
from distill_bench.runner.product import whole_record
from distill_bench.store import Folder
from tests.conftest import made_parts, make_plan

WORDS = ("dataset=digits", "ipc=2", "profile=smoke", "protocol.epochs=1", "protocol.nets=1")
RunCell = Callable[..., dict[str, Any]]


@pytest.fixture
def makings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that were run, in order."""
    names: list[str] = []
    find = catalogue.method_module

    def counted(name: str) -> Any:
        module = find(name)
        if not hasattr(module.run, "counted"):
            run = module.run

            def counting(ctx: Any, cfg: Any) -> Any:
                names.append(name)
                return run(ctx, cfg)

            counting.counted = True  # type: ignore[attr-defined]
            monkeypatch.setattr(module, "run", counting)
        return module

    monkeypatch.setattr("distill_bench.planning.product_plan.method_module", counted)
    return names


MEASURED_OTHERWISE = [
    "protocol.nets=2",
    "protocol=cross_arch",
    "protocol.ceiling=true",
    "protocol.audit=true",
    "protocol.batching=sequential",
    "protocol.full_steps=3",
]


def test_a_set_is_distilled_once_whatever_it_is_measured_with(run_cell: RunCell, makings: list[str]) -> None:
    ids = {run_cell("method=datadam", *WORDS)["product"]["id"]}
    for word in MEASURED_OTHERWISE:
        ids.add(run_cell("method=datadam", *WORDS, word)["product"]["id"])
    assert makings == ["datadam"]
    assert len(ids) == 1


@pytest.mark.parametrize("word", ["protocol.batching=sequential", "checkpoint_seconds=1", "device=cpu"])
def test_what_changes_no_measure_is_no_other_run(plan: Callable[..., Plan], word: str) -> None:
    assert plan("method=datadam", *WORDS).run_id == plan("method=datadam", *WORDS, word).run_id


@pytest.mark.parametrize(
    "word", ["seed=1", "method.lr_image=2", "ipc=5", "student.width=9", "dataset.zca=true"]
)
def test_what_changes_the_product_is_another_product(plan: Callable[..., Plan], word: str) -> None:
    words = ("method=dm", "dataset=digits", "ipc=1")
    assert plan(*words).product.product_id != plan(*words, word).product.product_id


def test_a_profile_is_part_of_a_product_by_its_effect_alone(plan: Callable[..., Plan]) -> None:
    words = ("method=dm", "dataset=digits", "ipc=1")
    smoke = ("method.iterations=4", "method.batch_real=8", "student.width=8")
    assert plan(*words, "profile=smoke").product.product_id == plan(*words, *smoke).product.product_id
    assert plan(*words, "profile=smoke").product.product_id != plan(*words).product.product_id


@pytest.mark.parametrize("method", ["herding", "kcenter"])
def test_what_depends_on_the_networks_of_the_protocol_is_another_product_with_others(
    plan: Callable[..., Plan], method: str
) -> None:
    words = (f"method={method}", "dataset=digits", "ipc=1")
    same, fewer, more_nets = (
        plan(*words),
        plan(*words, "protocol.full_steps=3"),
        plan(*words, "protocol.nets=9"),
    )
    assert same.product.product_id != fewer.product.product_id
    assert same.product.product_id == more_nets.product.product_id


def test_a_base_of_trained_features_depends_on_their_training(plan: Callable[..., Plan]) -> None:
    """The set of protocol.full_steps=1 was once served to protocol.full_steps=300."""
    words = ("method=difficulty", "method.base=herding", "dataset=digits", "ipc=1")
    pools = {plan(*words, f"protocol.full_steps={n}").product.parts[0][1].product_id for n in (1, 300)}
    assert len(pools) == 2


@pytest.mark.parametrize("setting", ["lr_image", "momentum_image"])
def test_two_products_of_one_method_in_one_process_do_not_go_on_from_each_other(
    run_cell: RunCell, tmp_path: Path, setting: str
) -> None:
    """`dm` with lr 1, then with lr 5 once gave equal bits."""
    images = []
    for value in ("0.9", "0.1"):
        words = ("method=difficulty", "method.base=dm", f"method.base_settings.{setting}={value}")
        run_cell(*words, "method.pool_factor=1", *WORDS)
    for record in tmp_path.glob("products/dm_*/product.json"):
        images.append(distill_bench.load(record.parent).inputs())
    assert len(images) == 2
    assert not torch.equal(*images)


def test_a_base_goes_through_its_own_yaml_cell_and_profile(plan: Callable[..., Plan]) -> None:
    words = ("method=difficulty", "dataset=cifar10", "ipc=10", "method.pool_factor=1")
    (datadam,) = made_parts(plan(*words, "method.base=datadam"))
    assert datadam.groups["dataset"].zca  # by its cell
    (d2m,) = made_parts(plan(*words, "method.base=d2m", "profile=smoke"))
    assert d2m.groups["generator"].kind.name == "cvae"  # by its yaml
    assert d2m.config.iterations == 4  # by the profile
    longer_words = ("method.base=dm", "profile=smoke", "method.base_settings.iterations=7")
    (longer,) = made_parts(plan(*words, *longer_words))
    assert longer.config.iterations == 7


def test_what_the_asker_was_given_reaches_its_base(plan: Callable[..., Plan]) -> None:
    words = ("method=difficulty", "dataset=cifar10", "ipc=10", "method.base=igds")
    (base,) = made_parts(plan(*words, "generator.cfg=3", "dataset.zca=true"))
    assert base.groups["generator"].cfg == 3.0
    assert base.groups["dataset"].zca
    assert base.groups["ipc"].images_per_class == 50


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["method.base=dmm"], r"method=dmm: unknown method; did you mean 'dm'"),
        (
            ["method.base=dm", "method.base_settings.iteratons=3"],
            r"method\.iteratons: unknown key.*method\.base",
        ),
        (["method.base=oggmr"], r"method\.base=oggmr"),
    ],
)
def test_a_wrong_base_is_one_line_before_anything_runs(
    plan: Callable[..., Plan], words: list[str], line: str
) -> None:
    with pytest.raises(UserError, match=line):
        plan("method=difficulty", *words)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def turn_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, turn_a_bit, Path.unlink], ids=lambda act: act.__name__)
def test_a_damaged_product_of_a_finished_run_is_named_and_remade(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan("method=random", *WORDS, roots=tmp_path)
    result = execute(plan, Interrupt())
    file = tmp_path / "products" / result["product"]["id"] / "synthetic_set.safetensors"
    before = file.read_bytes()
    damage(file)
    capsys.readouterr()
    assert finished(plan) is None
    assert execute(plan, Interrupt()) == result  # the same bits, so the measures stay
    said = capsys.readouterr().err
    assert said.count("making it anew") == 1
    assert str(file.parent) in said
    assert file.read_bytes() == before
    assert finished(plan) == result


@pytest.mark.parametrize(
    "content", ["[]", "null", "5", '{"schema": 1}', '{"schema": 9}', "{", "[" * 9999], ids=repr
)
@pytest.mark.parametrize("record", ["result.json", "product.json"])
def test_a_damaged_record_is_named_and_made_anew(
    tmp_path: Path, content: str, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan("method=random", *WORDS, roots=tmp_path)
    result = execute(plan, Interrupt())
    (file,) = tmp_path.glob(f"*/*/{record}")
    file.write_text(content)
    assert finished(plan) is None
    again = execute(plan, Interrupt())
    assert again["measures"] == result["measures"]
    assert record in capsys.readouterr().err
    assert finished(plan) == again


@pytest.mark.parametrize(
    "change",
    [{"provenance": {}}, {"provenance": []}, {"artifacts": 3}, {"measures": [3]}, {"file": 5}],
    ids=str,
)
def test_a_record_of_a_product_without_a_part_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    plan = make_plan("method=random", *WORDS, roots=tmp_path)
    execute(plan, Interrupt())
    (file,) = tmp_path.glob("products/*/product.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(Damaged, match="not a whole record"):
        whole_record(Folder(tmp_path / "products", plan.product.product_id, "product.json"))


def test_a_forced_run_keeps_the_old_result_until_the_new_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan("method=random", *WORDS, roots=tmp_path)
    execute(plan, Interrupt())
    forced = make_plan("method=random", *WORDS, "force=true", roots=tmp_path)

    def fail(*_: Any) -> Any:
        raise OSError("no space left on the device")

    monkeypatch.setattr("distill_bench.tasks.dataset_distillation.measure", fail)
    with pytest.raises(OSError, match="no space"):
        execute(forced, Interrupt())
    assert finished(plan) is not None


def test_a_forced_run_that_was_stopped_goes_on(tmp_path: Path, makings: list[str]) -> None:
    words = ("method=dm", *WORDS, "checkpoint_seconds=0")
    result = execute(make_plan(*words, roots=tmp_path), Interrupt())
    makings.clear()
    stopped = Interrupt()
    stopped.requested = True  # as if Ctrl-C came in the first step
    from distill_bench.interrupt import Interrupted

    forced = make_plan(*words, "force=true", roots=tmp_path)
    with pytest.raises(Interrupted):
        execute(forced, stopped)
    (checkpoint,) = tmp_path.glob("products/*/unfinished/checkpoint-distil.safetensors")
    before = checkpoint.stat().st_mtime_ns
    with pytest.raises(Interrupted):
        execute(forced, stopped)
    assert checkpoint.exists() and checkpoint.stat().st_mtime_ns >= before
    again = execute(forced, Interrupt())
    assert (again["product"]["digest"], again["measures"]) == (
        result["product"]["digest"],
        result["measures"],
    )
    assert makings == ["dm"] * 3


def images_in(folder: Path, colour: int, classes: Sequence[str] = ("0", "1")) -> None:
    """Six grey images a class, all files of one size; the colour changes them."""
    from PIL import Image

    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(6):
            Image.new("L", (8, 8), (40 * i + 90 * k + colour) % 256).save(folder / name / f"{i}.bmp")


def test_changed_images_are_another_product_and_no_finished_run(tmp_path: Path, run_cell: RunCell) -> None:
    folder = tmp_path / "mine"
    words = ["method=random", "dataset=imagefolder", f"dataset.folder={folder}", "dataset.resolution=8"]
    words += ["dataset.channels=1", "ipc=1", "profile=smoke", "protocol.epochs=1"]
    images_in(folder, 0)
    first = run_cell(*words)
    images_in(folder, 7)
    second = run_cell(*words)
    assert first["product"]["id"] != second["product"]["id"]
    assert first["provenance"]["data_fingerprint"] != second["provenance"]["data_fingerprint"]


def test_a_product_of_other_data_than_those_that_are_there_is_remade(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data sets of fixed content have no stamp: their fingerprint is compared when they are read."""
    plan = make_plan("method=random", *WORDS, roots=tmp_path)
    result = execute(plan, Interrupt())
    (file,) = tmp_path.glob("products/*/product.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "data_fingerprint": "of yesterday"}))
    measured_otherwise = make_plan("method=random", *WORDS, "protocol.nets=2", roots=tmp_path)
    execute(measured_otherwise, Interrupt())
    assert "made from other data than those that are there now: making it anew" in capsys.readouterr().err
    assert json.loads(file.read_text())["data_fingerprint"] == result["provenance"]["data_fingerprint"]


@pytest.mark.parametrize("kind", ["method", "profile", "protocol", "dataset", "generator", "ipc"])
def test_the_name_of_an_option_cannot_be_forged(plan: Callable[..., Plan], kind: str) -> None:
    for words in ([f"{kind}.name=other"], [f"{kind}={{name: other}}"]):
        if kind == "ipc":
            words = [f"+{word}" for word in words]
        with pytest.raises((UserError, Exception), match="name"):
            plan("method=igds", *words)


def test_a_run_folder_never_lies_outside_its_root(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made = plan(
        "method=random", "dataset=imagefolder", f"dataset.folder='{tmp_path}/../ä b'", "dataset.num_classes=2"
    )
    assert "/" not in made.run_id + made.product.product_id
    assert " " not in made.run_id


def test_undeclared_groups_and_products_are_errors_of_the_method(context: Callable[..., Any]) -> None:
    from distill_bench.groups import GeneratorConfig

    with pytest.raises(RuntimeError, match="asks for the group generator, but declares: dataset, ipc"):
        context("method=random").group(GeneratorConfig)


def test_a_file_beside_the_images_changes_nothing(tmp_path: Path, plan: Callable[..., Plan]) -> None:
    images_in(tmp_path / "mine", 0)
    words = ("method=random", "dataset=imagefolder", f"dataset.folder={tmp_path / 'mine'}", "ipc=1")
    before = plan(*words).product.product_id
    (tmp_path / "mine" / "README.txt").write_text("holiday")
    (tmp_path / "mine" / "0" / ".hidden.bmp").write_text("x")
    assert plan(*words).product.product_id == before


def test_a_stop_while_a_making_is_finished_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan("method=dm", *WORDS, "checkpoint_seconds=0", roots=tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "product.json")

    with monkeypatch.context() as patch:
        patch.setattr("distill_bench.store.write_json", full)
        with pytest.raises(OSError, match="No space"):
            execute(plan, Interrupt())
    assert list(tmp_path.glob("products/*/unfinished/checkpoint-distil.safetensors"))
    monkeypatch.setattr(
        "distill_bench.models.reinitialise", full
    )  # no step of the distillation is taken again
    with pytest.raises(OSError, match="No space"):
        execute(plan, Interrupt())
    assert list(tmp_path.glob("products/*/product.json"))  # it went on to the evaluation


def test_a_finished_run_whose_data_changed_is_looked_at_again(tmp_path: Path) -> None:
    wnids = list(IMAGENETTE)
    images_in(tmp_path / "data" / "imagenette2" / "train", 0, wnids)
    images_in(tmp_path / "data" / "imagenette2" / "val", 3, wnids)
    words = ["method=random", "dataset=imagenette", f"data_root={tmp_path / 'data'}", "dataset.resolution=8"]
    words += [
        "dataset.smallest_class=0",
        "dataset.num_classes=0",
        "ipc=1",
        "profile=smoke",
        "protocol.epochs=1",
    ]
    plan = make_plan(*words, roots=tmp_path)
    result = execute(plan, Interrupt())
    assert finished(plan) == result
    images_in(tmp_path / "data" / "imagenette2" / "train", 9, wnids)
    assert finished(plan) is None
    again = execute(plan, Interrupt())
    assert again["provenance"]["data_fingerprint"] != result["provenance"]["data_fingerprint"]
    assert finished(plan) == again
