"""OGGMR: figures of the classic mixture, and the small end-to-end laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from distill_bench import mixtures
from distill_bench.errors import UserError
from distill_bench.methods.mixture_reduction import oggmr
from distill_bench.methods.mixture_reduction.oggmr import Config, Criterion, Metric, Refine, Start
from distill_bench.mixtures import GaussianMixture, MakeRule
from distill_bench.products import load_product
from tests.mixtures.support import angle, make_context, random_mixture

GREEDY: MakeRule = partial(mixtures.NearestToOriginal, metric=mixtures.angular)
RUNNALLS: MakeRule = partial(mixtures.Cheapest, cost=mixtures.kl_bound)


def reduced_classic(folder: Path, target: int = 5, **settings: Any) -> GaussianMixture:
    """What the method makes of the classic mixture."""
    product = oggmr.run(make_context(folder, target=target), Config(**settings))
    return product.reductions[0].mixture


def partitions(items: list[int], blocks: int) -> Iterator[list[list[int]]]:
    """All ways to divide `items` into `blocks` sets."""
    if blocks == 0 or len(items) < blocks:
        if not items and blocks == 0:
            yield []
        return
    first, rest = items[0], items[1:]
    for part in partitions(rest, blocks - 1):
        yield [[first], *part]
    for part in partitions(rest, blocks):
        for k in range(blocks):
            yield [*part[:k], [first, *part[k]], *part[k + 1 :]]


def angles_of_partitions(f: GaussianMixture, blocks: int) -> torch.Tensor:
    """The angle to f after merging within each set, for all partitions of a mixture in one dimension."""
    member = torch.zeros(0, blocks, len(f), dtype=torch.float64)
    chosen = []
    for partition in partitions(list(range(len(f))), blocks):
        rows = [[float(k in block) for k in range(len(f))] for block in partition]
        chosen.append(rows)
    member = torch.tensor(chosen, dtype=torch.float64)  # (partitions, L, N)
    w, m, s = f.weights, f.means[:, 0], f.covariances[:, 0, 0]
    weight = member @ w
    mean = member @ (w * m) / weight
    variance = member @ (w * (s + m**2)) / weight - mean**2

    def products(m1: torch.Tensor, s1: torch.Tensor, m2: torch.Tensor, s2: torch.Tensor) -> torch.Tensor:
        total = s1[..., :, None] + s2[..., None, :]
        square = (m1[..., :, None] - m2[..., None, :]) ** 2 / total
        return (-square / 2).exp() / (2 * torch.pi * total).sqrt()

    ff = w @ products(m, s, m, s) @ w
    fg = torch.einsum("n,pnl,pl->p", w, products(m.expand(len(mean), -1), s, mean, variance), weight)
    gg = torch.einsum("pk,pkl,pl->p", weight, products(mean, variance, mean, variance), weight)
    return torch.acos(fg / (ff * gg).sqrt())


CLASSIC = {5: (0.07591, 0.00295, 0.0059), 4: (0.18436, 0.01661, 0.0400), 3: (0.25913, 0.03211, 0.0898)}


@pytest.mark.parametrize("target", CLASSIC)
def test_merging_the_classic_mixture_gives_the_known_figures(tmp_path: Path, target: int) -> None:
    f, g = mixtures.classic(), reduced_classic(tmp_path, target, refine=Refine.none)
    distance, ise, kl = CLASSIC[target]
    assert angle(f, g) == pytest.approx(distance, abs=6e-6)
    assert float(mixtures.distance(f, g, mixtures.ise)) == pytest.approx(ise, abs=6e-6)
    assert mixtures.kl_quadrature(f, g) == pytest.approx(kl, abs=6e-5)


@pytest.mark.parametrize(("target", "best"), [(5, 0.07591), (4, 0.17119), (3, 0.24913)])
def test_the_best_partition_of_the_classic_mixture_is_known_and_greedy_finds_it_for_five(
    tmp_path: Path, target: int, best: float
) -> None:
    f = mixtures.classic()
    found = float(angles_of_partitions(f, target).min())
    assert found == pytest.approx(best, abs=6e-6)
    greedy = angle(f, reduced_classic(tmp_path, target, refine=Refine.none))
    assert greedy == pytest.approx(found, abs=1e-10) if target == 5 else greedy > found


@pytest.mark.parametrize(("target", "distance"), [(5, 0.0182), (4, 0.15337), (3, 0.21790)])
def test_refining_the_classic_mixture_gives_the_known_figures(
    tmp_path: Path, target: int, distance: float
) -> None:
    assert angle(mixtures.classic(), reduced_classic(tmp_path, target)) == pytest.approx(distance, abs=6e-6)


@pytest.mark.parametrize("target", range(1, 10))
def test_the_classic_mixture_is_kept_at_least_as_well_as_by_runnalls(tmp_path: Path, target: int) -> None:
    f = mixtures.classic()
    theirs = angle(f, mixtures.reduce_greedily(f, target, RUNNALLS).mixture)
    assert angle(f, reduced_classic(tmp_path, target)) <= theirs + 1e-12


@pytest.mark.parametrize(
    "target", range(3, 10)
)  # two are found worse without refinement: greedy is not optimal
def test_merging_alone_keeps_the_classic_mixture_at_least_as_well_as_runnalls(
    tmp_path: Path, target: int
) -> None:
    f = mixtures.classic()
    theirs = angle(f, mixtures.reduce_greedily(f, target, RUNNALLS).mixture)
    assert angle(f, reduced_classic(tmp_path, target, refine=Refine.none)) <= theirs + 1e-12


def test_each_stage_comes_nearer(tmp_path: Path) -> None:
    f = mixtures.classic()
    stages = (Refine.none, Refine.weights, Refine.full)
    far = [angle(f, reduced_classic(tmp_path / part.name, 4, refine=part)) for part in stages]
    assert far[0] > far[1] > far[2]


def test_more_starts_are_never_worse(tmp_path: Path) -> None:
    f = mixtures.classic()
    one = angle(f, reduced_classic(tmp_path / "one", 3, starts=[Start.runnalls]))
    all_starts = angle(f, reduced_classic(tmp_path / "all", 3, starts=list(Start)))
    assert one == pytest.approx(0.27686, abs=6e-6)
    assert all_starts == pytest.approx(0.21790, abs=6e-6)


@pytest.mark.parametrize("metric", [Metric.chordal, Metric.l2])
def test_on_the_classic_mixture_every_metric_merges_alike(tmp_path: Path, metric: Metric) -> None:
    angular = reduced_classic(tmp_path / "angular", 5, refine=Refine.none)
    other = reduced_classic(tmp_path / "other", 5, refine=Refine.none, metric=metric)
    torch.testing.assert_close(other.means, angular.means)


def test_the_l2_metric_is_what_its_refinement_minimises(tmp_path: Path) -> None:
    f = mixtures.classic()
    by_angle = reduced_classic(tmp_path / "angular", 3)
    by_l2 = reduced_classic(tmp_path / "l2", 3, metric=Metric.l2)
    assert float(mixtures.distance(f, by_l2, mixtures.l2)) < float(
        mixtures.distance(f, by_angle, mixtures.l2)
    )
    assert angle(f, by_angle) < angle(f, by_l2)


def test_the_local_criterion_looks_at_the_pair_alone(tmp_path: Path) -> None:
    rule = partial(mixtures.Cheapest, cost=mixtures.pair_distance(mixtures.angular))
    expected = mixtures.reduce_greedily(mixtures.classic(), 4, rule).mixture
    g = reduced_classic(tmp_path, 4, criterion=Criterion["local"], refine=Refine.none)
    assert torch.equal(g.means, expected.means)


def test_as_many_components_as_there_are_change_nothing(tmp_path: Path) -> None:
    assert torch.equal(reduced_classic(tmp_path, 10).means, mixtures.classic().means)


def test_random_mixtures_rank_the_methods_and_refinement_helps_each() -> None:
    far: dict[str, list[float]] = {"oggmr": [], "runnalls": [], "west": []}
    rules: dict[str, MakeRule] = {"oggmr": GREEDY, "runnalls": RUNNALLS, "west": mixtures.LeastImportant}
    for seed in range(30):
        f = random_mixture(seed, 10, 4)
        for name, rule in rules.items():
            far[name].append(angle(f, mixtures.reduce_greedily(f, 5, rule).mixture))
        refined = mixtures.refine(f, mixtures.reduce_greedily(f, 5, GREEDY).mixture)
        assert angle(f, refined) < far["oggmr"][-1]
    assert fmean(far["oggmr"]) < fmean(far["runnalls"]) < fmean(far["west"])


def test_jittered_copies_of_four_components_are_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = mixtures.random(4, 2, generator)
    spread = GaussianMixture(truth.log_weights, 4 * truth.means, truth.covariances)
    shares = torch.rand(4, 10, dtype=torch.float64, generator=generator)
    weights = (spread.weights[:, None] * shares / shares.sum(1, keepdim=True)).flatten()
    scale = spread.covariances.diagonal(dim1=1, dim2=2).sqrt().repeat_interleave(10, 0)
    noise = 0.05 * scale * torch.randn(40, 2, dtype=torch.float64, generator=generator)
    jittered = GaussianMixture.of(
        weights, spread.means.repeat_interleave(10, 0) + noise, spread.covariances.repeat_interleave(10, 0)
    )
    g = mixtures.refine(jittered, mixtures.reduce_greedily(jittered, 4, GREEDY).mixture)
    assert angle(jittered, g) < 0.1
    nearest = torch.cdist(spread.means, g.means).min(1)
    assert float(nearest.values.max()) < 0.1
    assert sorted(nearest.indices.tolist()) == [0, 1, 2, 3]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no start": ({"starts": []}, "method.starts"),
    "negative iterations": ({"iterations": -1}, "method.iterations=-1: must be >= 0"),
    "no neighbours": ({"neighbours": 0}, "method.neighbours=0"),
    "more neighbours than components": ({"all_pairs": 10, "neighbours": 20}, "method.neighbours=20"),
}


@pytest.mark.parametrize(("settings", "said"), WRONG.values(), ids=WRONG.keys())
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Config(**settings)


def test_a_run_measures_what_the_product_says(
    run_cell: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    result = run_cell("method=oggmr", "mixture=classic")
    values = {measure["name"]: measure["values"] for measure in result["measures"]}
    assert set(values) == {"distance", "ise", "nise", "kl", "mean_error", "covariance_error", "seconds"}
    assert values["distance"] == [pytest.approx(0.0182, abs=6e-5)]
    product = load_product(tmp_path / "products" / result["product"]["id"])
    reduction = product.reductions[0]
    assert angle(product.originals[0], reduction.mixture) == pytest.approx(values["distance"][0], abs=1e-12)
    assert len(reduction.merges) == 5
