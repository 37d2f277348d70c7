"""Difficulty-guided sampling: the laws of a selection, its fallbacks, and a pool that a small generator
drew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from distill_bench import selection
from distill_bench.catalogue import method_files
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import StudentConfig
from distill_bench.interrupt import Interrupt
from distill_bench.methods.dataset_distillation.difficulty import (
    HISTOGRAMS,
    Config,
    Match,
    Target,
    ThresholdUnit,
    select,
)
from distill_bench.planning import Plan, ProductPlan
from distill_bench.products import SyntheticSet
from distill_bench.runner import Machine, Stored, obtain
from distill_bench.selection import Scores
from tests.conftest import made_parts, make_plan

MakePlan = Callable[..., Plan]
WORDS = ["method=difficulty", "dataset=digits", "student.width=8"]
FAST = [*WORDS, "method.base=random", "method.scorer_steps=40"]


def stored(plan: Plan, product: ProductPlan | None = None) -> Stored:
    """The product of a plan (or one that it is made from), made if it is not there."""
    return obtain(Machine.of(plan.options, Interrupt()), product or plan.product)


def made_with_its_pool(plan: Plan) -> tuple[SyntheticSet, SyntheticSet]:
    """The selection of a plan, and the pool that it was selected from."""
    (pool,) = made_parts(plan)
    return stored(plan).product, stored(plan, pool).product


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skewed(count: int, seed: int) -> Scores:
    """Scores as a classifier gives them: most images are easy."""
    d = torch.rand(count, generator=draws(seed), dtype=torch.float64).pow(4).round(decimals=4)
    return Scores(d, d < 0.5)


def keys(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, generator=draws(1000 + seed), dtype=torch.float64)


def rows(images: torch.Tensor) -> list[bytes]:
    """Images as things that can be compared and sorted."""
    return [image.numpy().tobytes() for image in images]


def measured(done: Stored, name: str) -> dict[str, float]:
    return {m.facets.get("of", ""): m.values[0] for m in done.measures if m.name == name}


@pytest.mark.parametrize("target", list(Target))
def test_every_target_gives_ipc_different_images_of_the_pool(target: Target) -> None:
    cfg = Config(target=target, shape=[1] * 10 if target is Target.list else [])
    for size, count in ((50, 10), (5, 1), (10, 10)):
        places = select(skewed(size, 0), skewed(300, 1), keys(size), count, cfg).choice.places
        assert len(places.unique()) == count and int(places.min()) >= 0 and int(places.max()) < size


@pytest.mark.parametrize("match", list(Match))
@pytest.mark.parametrize("unit", list(ThresholdUnit))
def test_the_selection_has_the_wanted_histogram_where_the_pool_can_give_it(
    match: Match, unit: ThresholdUnit
) -> None:
    cfg = Config(match=match, threshold_unit=unit)
    result = select(skewed(1000, 0), skewed(300, 1), keys(1000), 20, cfg)
    assert result.choice.shortage == 0
    assert torch.equal(result.selected_B, result.quotas_B)
    assert result.divergence == 0
    originals = selection.histogram(selection.bin_numbers(result.originals_scaled_N)).double()
    assert (result.quotas_B - originals * 20 / 300).abs().max() < 1


def test_equal_counts_are_drawn_for_a_flat_target() -> None:
    result = select(skewed(1000, 0), skewed(300, 1), keys(1000), 20, Config(target=Target.ground))
    assert result.selected_B.tolist() == [2] * 10
    listed = select(
        skewed(1000, 0), skewed(300, 1), keys(1000), 20, Config(target=Target.list, shape=[7] * 10)
    )
    assert torch.equal(result.choice.places, listed.choice.places)


def test_easy_random_and_hard_are_in_this_order() -> None:
    def mean(target: Target) -> float:
        cfg = Config(target=target)
        selections = [select(skewed(50, s), skewed(300, 1), keys(50, s), 10, cfg) for s in range(20)]
        return float(torch.cat([one.pool_M[one.choice.places] for one in selections]).mean())

    assert mean(Target.easy) < mean(Target.random) < mean(Target.hard)
    assert mean(Target.easy) < mean(Target.original) < mean(Target.hard)


def test_thresholds_are_counts_or_shares_of_the_originals() -> None:
    pool, originals = skewed(50, 3), skewed(500, 4)
    ordered = originals.difficulty.sort().values
    for unit, factor in ((ThresholdUnit.count, 1), (ThresholdUnit.fraction, 10)):
        result = select(pool, originals, keys(50), 10, Config(threshold_unit=unit))
        b, t = result.thresholds.easiest, result.thresholds.hardest
        assert (b, t) != (0, 0)
        lo, hi = ordered[factor * b], ordered[499 - factor * t]
        assert result.original_bounds == (float(lo) or 1e-4, float(hi))


def test_an_absolute_match_puts_both_sets_on_the_scale_of_the_originals() -> None:
    pool, originals = skewed(50, 3), skewed(500, 4)
    absolute = select(pool, originals, keys(50), 10, Config(match=Match.absolute))
    assert absolute.pool_bounds == absolute.original_bounds
    assert torch.equal(
        absolute.pool_scaled_M, selection.log_difficulty(pool.difficulty, *absolute.original_bounds)
    )
    relative = select(pool, originals, keys(50), 10, Config())
    assert relative.pool_bounds != relative.original_bounds == absolute.original_bounds


@pytest.mark.parametrize("value", [0.0, 0.9], ids=["perfect", "uniform"])
@pytest.mark.parametrize("target", HISTOGRAMS[:2])
def test_a_scorer_that_tells_nothing_apart_still_gives_ipc_images(value: float, target: Target) -> None:
    flat = Scores(torch.full((50,), value, dtype=torch.float64), torch.ones(50, dtype=torch.bool))
    result = select(flat, flat, keys(50), 10, Config(target=target))
    assert len(result.choice.places.unique()) == 10
    assert result.pool_scaled_M.eq(0.5).all()
    json.dumps(result.as_dict(), allow_nan=False)


def test_the_order_of_the_pool_does_not_matter() -> None:
    pool, order = skewed(50, 0), torch.randperm(50, generator=draws(9))
    mixed = Scores(pool.difficulty[order], pool.right[order])
    for target in (Target.original, Target.easy, Target.random, Target.confident):
        cfg = Config(target=target)
        one, other = (
            select(scores, skewed(300, 1), key, 10, cfg).choice.places
            for scores, key in ((pool, keys(50)), (mixed, keys(50)[order]))
        )
        assert set(one.tolist()) == set(order[other].tolist())


def test_a_run_keeps_images_of_the_pool_and_their_labels(plan: MakePlan, tmp_path: Path) -> None:
    product, pool = made_with_its_pool(plan(*FAST, "ipc=5"))
    assert len(pool) == 250 and pool.images.dtype == product.images.dtype == torch.uint8
    assert product.labels.tolist() == [k for k in range(10) for _ in range(5)]
    label = dict(zip(rows(pool.images), pool.labels.tolist(), strict=True))
    assert len(set(rows(product.images))) == 50
    assert [label[image] for image in rows(product.images)] == product.labels.tolist()
    again = stored(make_plan(*FAST, "ipc=5", roots=tmp_path / "again")).product
    assert torch.equal(product.images, again.images)
    other = stored(plan(*FAST, "ipc=5", "seed=1")).product
    assert not torch.equal(product.images, other.images)


def test_a_pool_of_ipc_images_is_kept_whole_in_another_order(plan: MakePlan) -> None:
    words = [*FAST, "ipc=5", "method.pool_factor=1", "method.target=easy"]
    product, pool = made_with_its_pool(plan(*words))
    assert sorted(rows(product.images)) == sorted(rows(pool.images))
    assert rows(product.images) != rows(pool.images)


def test_the_order_of_the_images_says_nothing_of_their_difficulty(
    plan: MakePlan, context: Callable[..., Context]
) -> None:
    easiest = [0] * 5
    for seed in range(2):
        words = [*FAST, "ipc=5", f"seed={seed}", "method.target=easy"]
        product, ctx = stored(plan(*words)).product, context(*words)
        scorer, _ = selection.trained_scorer(ctx, ctx.dataset, ctx.group(StudentConfig), 40, 2)
        d = scorer.score([(product.inputs(), product.labels)]).difficulty.unflatten(0, (10, 5))
        for place in d.argmin(1).tolist():
            easiest[place] += 1
    assert max(easiest) < 11  # of 20; in order, the first would be the easiest of each


def test_a_run_reports_what_it_did(plan: MakePlan) -> None:
    done = stored(plan(*FAST, "ipc=5"))
    product, files = done.product, done.record["artifacts"]
    names = product.class_names
    assert set(measured(done, "difficulty")) == {"selection", "pool", "originals"}
    assert measured(done, "histogram_divergence")[""] >= 0
    details = json.loads((done.folder.path / files["difficulty_details"]).read_text())
    assert [one["class"] for one in details] == list(names)
    for one in details:
        assert sum(one["quotas"]) == sum(one["histograms"]["selection"]) == len(one["kept"]) == 5
        assert sum(one["histograms"]["pool"]) == 25
    assert sum(one["shortage"] for one in details) == measured(done, "shortage")[""]
    mean = sum(one["mean_difficulty"]["pool"] for one in details) / 10
    assert mean == pytest.approx(measured(done, "difficulty")["pool"], abs=1e-5)
    with Image.open(done.folder.path / files["difficulty"]) as picture:
        assert picture.width > 500


def test_another_base_gets_its_settings(plan: MakePlan) -> None:
    settings = "method.base_settings={iterations: 0, init: noise}"
    words = [*WORDS, "ipc=2", "method.base=dm", settings, "method.scorer_steps=5"]
    product, pool = made_with_its_pool(plan(*words))
    assert set(rows(product.images)) <= set(rows(pool.images))
    assert pool.images.abs().max() > 3  # noise, not digits


def test_a_base_that_repeats_itself_is_named(plan: MakePlan, capsys: pytest.CaptureFixture[str]) -> None:
    dc = "method.base_settings={iterations: 0, init: real}"
    stored(plan(*WORDS, "method.base=diffusion", "ipc=2", "profile=smoke", "method.scorer_steps=5"))
    assert "repeats images" not in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        module = plan(*FAST, "ipc=2").product.module
        patch.setattr(module, "_distinct", lambda images: len(images) - 1)
        stored(plan(*WORDS, "method.base=dc", dc, "ipc=2", "method.scorer_steps=5"))
    assert "base=dc repeats images in 10 of 10 classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["method.pool_factor=0.9"], "method.pool_factor=0.9: must be >= 1"),
        (["method.base=difficulty"], "another method"),
        (["method.target=list"], "10 numbers"),
        (["method.target=list", "method.shape=[1,2]"], "10 numbers"),
        (["method.shape=[1,1,1,1,1,1,1,1,1,1]"], "empty but for list"),
        (["method.target=cliffs"], "method.target=cliffs"),
        (["method.balance=2"], "method.balance=2"),
        (["method.cross_fit=0"], "method.cross_fit=0"),
        (["method.scorer=vgg"], "method.scorer=vgg"),
    ],
)
def test_wrong_settings_are_one_clear_line(plan: Callable[..., Plan], words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        plan(*WORDS, *words)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_base_or_setting_is_named(plan: MakePlan) -> None:
    with pytest.raises(UserError, match="did you mean 'random'"):
        plan(*WORDS, "method.base=randon")
    with pytest.raises(UserError, match="iteration: unknown key"):
        plan(*WORDS, "method.base=dm", "method.base_settings.iteration=3")
    with pytest.raises(UserError, match=r"method.base=west: must be a method of dataset_distillation"):
        plan(*WORDS, "method.base=west")


def test_the_pool_and_the_file_of_weights_are_part_of_its_identity(plan: MakePlan, tmp_path: Path) -> None:
    def name(*words: str) -> str:
        common = FAST if not words or "scorer=" not in words[0] else WORDS  # steps are of a trained scorer
        return plan(*common, *words).product.product_id

    own = name()
    assert name("protocol.nets=9") == own
    assert len({own, name("method.pool_factor=4"), name("student.width=9")}) == 3
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    given = ("method.scorer=resnet50", f"method.scorer_path={file}")
    before = name(*given)
    moved = file.rename(tmp_path / "moved.pth")
    assert name("method.scorer=resnet50", f"method.scorer_path={moved}") == before
    moved.write_bytes(b"another")
    assert name("method.scorer=resnet50", f"method.scorer_path={moved}") != before


@pytest.mark.slow
def test_a_generated_pool_is_brought_near_the_originals(plan: MakePlan) -> None:
    """Images that lie in a wrong bin, of 10 a class, averaged over classes and seeds; and how hard the sets
    are."""
    words = [
        *WORDS,
        "ipc=10",
        "student.width=16",
        "generator.train_steps=300",
        "generator.sampling_steps=15",
        "method.scorer_steps=100",
        "method.hist_smoothing=0.5",
    ]
    misplaced: dict[str, list[float]] = {"original": [], "random": []}
    for seed in range(3):
        for target, shares in misplaced.items():
            done = stored(plan(*words, f"method.target={target}", f"seed={seed}"))
            file = done.folder.path / done.record["artifacts"]["difficulty_details"]
            for one in json.loads(file.read_text()):
                pairs = zip(one["histograms"]["selection"], one["quotas"], strict=True)
                shares.append(sum(abs(a - b) for a, b in pairs) / 2)
    means = {target: sum(values) / len(values) for target, values in misplaced.items()}
    assert means["original"] < 1 < 2.5 < means["random"]


OTHERS = ("difficulty", "external")  # itself, and one that has a path of the user's own
QUICK = ("random", "dm", "d2m", "diffusion", "igds")  # of each kind one or two
BASES = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in method_files()
    if "dataset_distillation" in method_files()[name] and name not in OTHERS
]


@pytest.mark.parametrize("base", BASES)
def test_the_pool_can_be_any_methods(run_cell: Callable[..., dict[str, Any]], base: str) -> None:
    words = ["method=difficulty", f"method.base={base}", "method.pool_factor=2", "dataset=digits", "ipc=2"]
    result = run_cell(*words, "profile=smoke", "protocol.epochs=1", "protocol.nets=1")
    assert {"accuracy", "difficulty"} <= {measure["name"] for measure in result["measures"]}
