"""Difficulty-guided sampling: the laws of a selection, its fallbacks, and a pool that a small generator
drew."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from distill_bench import selection
from distill_bench.config import Plan
from distill_bench.contract import Context, SyntheticSet
from distill_bench.errors import UserError
from distill_bench.methods.dataset_distillation.difficulty import (
    HISTOGRAMS,
    Config,
    Match,
    Target,
    ThresholdUnit,
    select,
)
from distill_bench.methods.dataset_distillation.difficulty import run as distil
from distill_bench.selection import Scores

WORDS = ["method=difficulty", "dataset=digits", "student.width=8"]
FAST: dict[str, Any] = {"base": "random", "scorer_steps": 40}


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


def measured(product: SyntheticSet, name: str) -> dict[str, float]:
    return {m.facets.get("of", ""): m.values[0] for m in product.measures if m.name == name}


@pytest.mark.parametrize("target", list(Target))
def test_every_target_gives_ipc_different_images_of_the_pool(target: Target) -> None:
    cfg = Config(target=target, shape=[1] * 10 if target is Target.list else [])
    for size, count in ((50, 10), (5, 1), (10, 10)):
        kept = select(skewed(size, 0), skewed(300, 1), keys(size), count, cfg).choice.kept
        assert len(kept.unique()) == count and int(kept.min()) >= 0 and int(kept.max()) < size


@pytest.mark.parametrize("match", list(Match))
@pytest.mark.parametrize("unit", list(ThresholdUnit))
def test_the_selection_has_the_wanted_histogram_where_the_pool_can_give_it(
    match: Match, unit: ThresholdUnit
) -> None:
    cfg = Config(match=match, threshold_unit=unit)
    found = select(skewed(1000, 0), skewed(300, 1), keys(1000), 20, cfg)
    assert found.choice.shortage == 0
    assert torch.equal(found.selected_B, found.quotas_B)
    assert found.divergence == 0
    originals = selection.histogram(selection.bin_numbers(found.originals_scaled_N)).double()
    assert (found.quotas_B - originals * 20 / 300).abs().max() < 1


def test_equal_counts_are_drawn_for_a_flat_target() -> None:
    found = select(skewed(1000, 0), skewed(300, 1), keys(1000), 20, Config(target=Target.ground))
    assert found.selected_B.tolist() == [2] * 10
    listed = select(
        skewed(1000, 0), skewed(300, 1), keys(1000), 20, Config(target=Target.list, shape=[7] * 10)
    )
    assert torch.equal(found.choice.kept, listed.choice.kept)


def test_easy_random_and_hard_are_in_this_order() -> None:
    def mean(target: Target) -> float:
        chosen = [
            select(skewed(50, s), skewed(300, 1), keys(50, s), 10, Config(target=target)) for s in range(20)
        ]
        return float(torch.cat([one.pool_M[one.choice.kept] for one in chosen]).mean())

    assert mean(Target.easy) < mean(Target.random) < mean(Target.hard)
    assert mean(Target.easy) < mean(Target.original) < mean(Target.hard)


def test_thresholds_are_counts_or_shares_of_the_originals() -> None:
    pool, originals = skewed(50, 3), skewed(500, 4)
    ordered = originals.difficulty.sort().values
    for unit, factor in ((ThresholdUnit.count, 1), (ThresholdUnit.fraction, 10)):
        found = select(pool, originals, keys(50), 10, Config(threshold_unit=unit))
        b, t = found.thresholds.easiest, found.thresholds.hardest
        assert (b, t) != (0, 0)
        lo, hi = ordered[factor * b], ordered[499 - factor * t]
        assert found.original_bounds == (float(lo) or 1e-4, float(hi))


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
    found = select(flat, flat, keys(50), 10, Config(target=target))
    assert len(found.choice.kept.unique()) == 10
    assert found.pool_scaled_M.eq(0.5).all()
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_order_of_the_pool_does_not_matter() -> None:
    pool, order = skewed(50, 0), torch.randperm(50, generator=draws(9))
    mixed = Scores(pool.difficulty[order], pool.right[order])
    for target in (Target.original, Target.easy, Target.random, Target.confident):
        cfg = Config(target=target)
        one, other = (
            select(scores, skewed(300, 1), key, 10, cfg).choice.kept
            for scores, key in ((pool, keys(50)), (mixed, keys(50)[order]))
        )
        assert set(one.tolist()) == set(order[other].tolist())


def test_a_run_keeps_images_of_the_pool_and_their_labels(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS, "ipc=5")
    pool = ctx.product_of("random", {}, 25)
    product = distil(ctx, Config(**FAST))
    assert product.labels.tolist() == [k for k in range(10) for _ in range(5)]
    label = dict(zip(rows(pool.images), pool.labels.tolist(), strict=True))
    assert len(set(rows(product.images))) == 50
    assert [label[image] for image in rows(product.images)] == product.labels.tolist()
    again = distil(context(*WORDS, "ipc=5"), Config(**FAST))
    assert torch.equal(product.images, again.images)
    other = distil(context(*WORDS, "ipc=5", "seed=1"), Config(**FAST))
    assert not torch.equal(product.images, other.images)


def test_a_pool_of_ipc_images_is_kept_whole_in_another_order(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS, "ipc=5")
    pool = ctx.product_of("random", {}, 5).images
    kept = distil(ctx, Config(**FAST, pool_factor=1.0, target=Target.easy)).images
    assert sorted(rows(kept)) == sorted(rows(pool))
    assert rows(kept) != rows(pool)


def test_the_order_of_the_images_says_nothing_of_their_difficulty(context: Callable[..., Context]) -> None:
    easiest = [0] * 5
    for seed in range(3):
        ctx = context(*WORDS, "ipc=5", f"seed={seed}")
        scorer, _ = selection.trained_scorer(ctx, 40, 2)
        product = distil(ctx, Config(**FAST, target=Target.easy))
        d = scorer.score([(product.images, product.labels)]).difficulty.unflatten(0, (10, 5))
        for place in d.argmin(1).tolist():
            easiest[place] += 1
    assert max(easiest) < 15  # of 30; in order, the first would be the easiest of each


def test_a_run_reports_what_it_did(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS, "ipc=5")
    product = distil(ctx, Config(**FAST))
    assert set(measured(product, "difficulty")) == {"selection", "pool", "originals"}
    assert measured(product, "histogram_divergence")[""] >= 0
    details = json.loads((ctx.folder.path / product.artifacts["difficulty_details"]).read_text())
    assert [one["class"] for one in details] == ctx.dataset.class_names
    for one in details:
        assert sum(one["quotas"]) == sum(one["histograms"]["selection"]) == len(one["kept"]) == 5
        assert sum(one["histograms"]["pool"]) == 25
    assert sum(one["shortage"] for one in details) == measured(product, "shortage")[""]
    mean = sum(one["mean_difficulty"]["pool"] for one in details) / 10
    assert mean == pytest.approx(measured(product, "difficulty")["pool"], abs=1e-5)
    with Image.open(ctx.folder.path / product.artifacts["difficulty"]) as picture:
        assert picture.width > 500


def test_another_base_gets_its_settings(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS, "ipc=2")
    settings = {"iterations": 0, "init": "noise"}
    product = distil(ctx, Config(base="dm", base_settings=settings, scorer_steps=5))
    pool = ctx.product_of("dm", settings, 10)
    assert set(rows(product.images)) <= set(rows(pool.images))


def test_a_base_that_repeats_itself_is_named(
    context: Callable[..., Context], capsys: pytest.CaptureFixture[str]
) -> None:
    distil(
        context(*WORDS, "ipc=20"), Config(**{**FAST, "pool_factor": 10.0})
    )  # 200 of about 120 digits a class
    assert "base=random repeats images in 10 of 10 classes" in capsys.readouterr().err


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


def test_an_unknown_base_or_setting_is_named(context: Callable[..., Context]) -> None:
    with pytest.raises(UserError, match="did you mean 'random'"):
        distil(context(*WORDS, "ipc=1"), Config(base="randon"))
    with pytest.raises(UserError, match="iteration: unknown key"):
        distil(context(*WORDS, "ipc=1"), Config(base="dm", base_settings={"iteration": 3}))


def test_a_generated_pool_is_brought_near_the_originals(context: Callable[..., Context]) -> None:
    """Images that lie in a wrong bin, of 10 a class, averaged over classes and seeds; and how hard the sets
    are."""
    words = [*WORDS, "ipc=10", "student.width=16", "generator.train_steps=300", "generator.sampling_steps=15"]
    misplaced: dict[Target, list[float]] = {Target.original: [], Target.random: []}
    for seed in range(3):
        for target, found in misplaced.items():
            ctx = context(*words, f"seed={seed}")
            product = distil(
                ctx, Config(base="diffusion", target=target, scorer_steps=100, hist_smoothing=0.5)
            )
            details = json.loads((ctx.folder.path / product.artifacts["difficulty_details"]).read_text())
            for one in details:
                pairs = zip(one["histograms"]["selection"], one["quotas"], strict=True)
                found.append(sum(abs(a - b) for a, b in pairs) / 2)
    means = {target: sum(values) / len(values) for target, values in misplaced.items()}
    assert means[Target.original] < 1 < 2.5 < means[Target.random]
