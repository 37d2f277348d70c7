"""Laws of merging and of the greedy rules."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from distill_bench import mixtures
from distill_bench.errors import UserError
from distill_bench.mixtures import GaussianMixture, MakeRule, NearestToOriginal, Slots
from tests.mixtures.support import angle, inner_product, joined, merged, pairs_of, random_mixture

RULES: dict[str, MakeRule] = {
    "kl bound": partial(mixtures.Cheapest, cost=mixtures.kl_bound),
    "ise of the pair": partial(mixtures.Cheapest, cost=mixtures.pair_ise),
    "angle of the pair": partial(mixtures.Cheapest, cost=mixtures.pair_distance(mixtures.angular)),
    "least important": mixtures.LeastImportant,
    "angle to the original": partial(NearestToOriginal, metric=mixtures.angular),
    "ise to the original": partial(NearestToOriginal, metric=mixtures.ise),
    "angle to the original, near pairs": partial(
        NearestToOriginal, metric=mixtures.angular, all_pairs=5, neighbours=2
    ),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def difference(f: GaussianMixture, g: GaussianMixture) -> float:
    """The largest difference between the parameters of two mixtures."""
    parts = ((f.weights, g.weights), (f.means, g.means), (f.covariances, g.covariances))
    return max(float((a - b).abs().max()) for a, b in parts)


def test_a_merge_is_the_textbook_one() -> None:
    f = random_mixture(0, 5, 3)
    c = mixtures.Components.of(f)
    first, second = torch.tensor([0, 1, 2]), torch.tensor([4, 2, 3])
    ours = mixtures.merge(c.at(first), c.at(second)).mixture()
    for k, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        assert difference(ours.select(torch.tensor([k])), merged(f, i, j).select(torch.tensor([i]))) < 1e-14


@every_rule
@pytest.mark.parametrize("dimension", [1, 2, 4, 17])
def test_merging_keeps_weight_mean_and_covariance(rule: MakeRule, dimension: int) -> None:
    f = random_mixture(1, 12, dimension)
    g = mixtures.reduce_greedily(f, 3, rule).mixture
    assert len(g) == 3
    assert float(g.weights.sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(mixtures.overall_mean(g), mixtures.overall_mean(f), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        mixtures.overall_covariance(g), mixtures.overall_covariance(f), rtol=0, atol=1e-12
    )


@every_rule
def test_one_component_has_the_moments_of_the_whole(rule: MakeRule) -> None:
    f = random_mixture(2, 8, 3)
    g = mixtures.reduce_greedily(f, 1, rule).mixture
    torch.testing.assert_close(g.means[0], mixtures.overall_mean(f))
    torch.testing.assert_close(g.covariances[0], mixtures.overall_covariance(f))


@every_rule
def test_a_mixture_that_is_small_enough_is_left_alone(rule: MakeRule) -> None:
    f = random_mixture(0)
    reduction = mixtures.reduce_greedily(f, len(f), rule)
    assert reduction.mixture is f
    assert reduction.merges == []


def test_a_target_below_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"mixture\.target=0: must be >= 1"):
        mixtures.reduce_greedily(random_mixture(0), 0, mixtures.LeastImportant)


@every_rule
def test_the_merge_tree_rebuilds_the_result(rule: MakeRule) -> None:
    f = random_mixture(3, 9, 2)
    reduction = mixtures.reduce_greedily(f, 3, rule)
    members = {k: {k} for k in range(len(f))}
    for step, (i, j) in enumerate(reduction.merges):
        members[len(f) + step] = members.pop(i) | members.pop(j)
    weights = sorted(float(f.weights[list(group)].sum()) for group in members.values())
    assert weights == pytest.approx(sorted(reduction.mixture.weights.tolist()), abs=1e-12)


@every_rule
def test_components_split_in_two_are_joined_before_any_other_merge(rule: MakeRule) -> None:
    f = random_mixture(4, 6, 2)
    half = GaussianMixture(f.log_weights - math.log(2), f.means, f.covariances)
    reduction = mixtures.reduce_greedily(joined(half, half), 6, rule)
    assert angle(f, reduction.mixture) < 1e-6
    assert sorted(reduction.merges) == [(k, k + 6) for k in range(6)]


def test_nearly_identical_components_are_merged_first_by_the_global_rule() -> None:
    f = random_mixture(4, 6, 2)
    half = GaussianMixture(f.log_weights - math.log(2), f.means, f.covariances)
    moved = GaussianMixture(half.log_weights, half.means + 1e-9, half.covariances)
    reduction = mixtures.reduce_greedily(joined(half, moved), 6, RULES["angle to the original"])
    assert sorted(reduction.merges) == [(k, k + 6) for k in range(6)]
    assert angle(f, reduction.mixture) < 1e-6


def test_negligible_components_are_dropped_and_reported() -> None:
    f = random_mixture(5, 5, 2)
    speck = random_mixture(6, 2, 2)
    whole = joined(f, GaussianMixture(speck.log_weights - 40, speck.means, speck.covariances))
    reduction = mixtures.reduce_greedily(whole, 4, RULES["kl bound"])
    assert reduction.dropped == 2
    assert float(reduction.mixture.weights.sum()) == pytest.approx(float(whole.weights.sum()), abs=1e-15)
    assert difference(reduction.mixture, mixtures.reduce_greedily(f, 4, RULES["kl bound"]).mixture) < 1e-12


@pytest.mark.parametrize("candidates", [(400, 20), (5, 3)], ids=["all pairs", "near pairs"])
@pytest.mark.parametrize("metric", [mixtures.angular, mixtures.l2, mixtures.tanimoto])
def test_the_incremental_criterion_is_the_distance_after_each_merge_at_every_step(
    metric: mixtures.Distance, candidates: tuple[int, int]
) -> None:
    f = random_mixture(7, 12, 2)
    slots = Slots(f)
    rule = NearestToOriginal(slots, metric, *candidates)
    unit = 1.0 if metric is not mixtures.l2 else math.exp(float(mixtures.log_inner_product(f, f)) / 2)
    while slots.count > 2:
        kept = slots.used.nonzero().squeeze(1)
        g = slots.components.mixture().select(kept)
        place = {slot: k for k, slot in enumerate(kept.tolist())}
        i, j, cost = rule.costs()
        pairs = [(place[a], place[b]) for a, b in zip(i.tolist(), j.tolist(), strict=True)]
        if candidates == (400, 20):
            assert sorted(pairs) == list(pairs_of(len(g)))
        direct = [float(mixtures.distance(f, merged(g, *pair), metric)) for pair in pairs]
        assert (cost * unit).tolist() == pytest.approx(direct, abs=1e-10)
        chosen = rule.choose()
        assert (place[chosen[0]], place[chosen[1]]) == pairs[direct.index(min(direct))]
        rule.merge(*chosen)
        if slots.count in (9, 4):
            rule.compact()


@pytest.mark.parametrize("dimension", [1, 3])
def test_the_global_rule_equals_a_plain_loop(dimension: int) -> None:
    f = random_mixture(8, 9, dimension)
    g = f
    while len(g) > 3:
        g = min((merged(g, i, j) for i, j in pairs_of(len(g))), key=lambda h: angle(f, h))
    assert difference(mixtures.reduce_greedily(f, 3, RULES["angle to the original"]).mixture, g) < 1e-10


def _kl_bound(f: GaussianMixture, i: int, j: int) -> float:
    g = merged(f, i, j)
    terms = [(g, i, 1), (f, i, -1), (f, j, -1)]
    return 0.5 * sum(sign * float(h.weights[k] * torch.logdet(h.covariances[k])) for h, k, sign in terms)


def _pair_ise(f: GaussianMixture, i: int, j: int) -> float:
    pair, single = f.select(torch.tensor([i, j])), merged(f, i, j).select(torch.tensor([i]))
    return inner_product(pair, pair) - 2 * inner_product(pair, single) + inner_product(single, single)


def _pair_angle(f: GaussianMixture, i: int, j: int) -> float:
    return angle(f.select(torch.tensor([i, j])), merged(f, i, j).select(torch.tensor([i])))


PLAIN = {"kl bound": _kl_bound, "ise of the pair": _pair_ise, "angle of the pair": _pair_angle}


@pytest.mark.parametrize("name", PLAIN)
def test_a_pair_cost_equals_its_definition(name: str) -> None:
    f = random_mixture(9, 6, 3)
    rule = RULES[name](Slots(f))
    assert isinstance(rule, mixtures.Cheapest)
    for i, j in pairs_of(len(f)):
        assert float(rule.costs[i, j]) == pytest.approx(PLAIN[name](f, i, j), abs=1e-12)
        assert float(rule.costs[j, i]) == math.inf


@pytest.mark.parametrize("name", PLAIN)
def test_renewing_only_new_pairs_equals_a_plain_loop(name: str) -> None:
    f = random_mixture(10, 10, 2)
    g = f
    while len(g) > 2:
        g = merged(g, *min(pairs_of(len(g)), key=lambda pair: PLAIN[name](g, *pair)))
    assert difference(mixtures.reduce_greedily(f, 2, RULES[name]).mixture, g) < 1e-10


def test_wests_rule_equals_its_definition() -> None:
    f = random_mixture(11, 8, 3)
    g = f
    while len(g) > 3:
        traces = g.covariances.diagonal(dim1=1, dim2=2).sum(1)
        i = int((g.weights / traces).argmin())
        apart = g.means - g.means[i]
        squared = [float(a @ torch.linalg.inv(g.covariances[i]) @ a) for a in apart]
        j = min((k for k in range(len(g)) if k != i), key=lambda k: squared[k])
        g = merged(g, *sorted((i, j)))
    assert difference(mixtures.reduce_greedily(f, 3, mixtures.LeastImportant).mixture, g) < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_distances_of_the_same_order_choose_the_same_pairs(seed: int) -> None:
    f = random_mixture(seed, 10, 3)
    metrics = (mixtures.angular, mixtures.chordal, mixtures.cauchy_schwarz)
    merges = [
        mixtures.reduce_greedily(f, 3, partial(NearestToOriginal, metric=metric)).merges for metric in metrics
    ]
    assert merges[0] == merges[1] == merges[2]


def test_equal_costs_are_settled_for_the_lowest_pair() -> None:
    means = [[0.0], [1.0], [100.0], [101.0], [200.0], [201.0]]
    f = GaussianMixture.of([1 / 6] * 6, means, [[[1.0]]] * 6)
    for name in ("kl bound", "ise of the pair"):
        assert mixtures.reduce_greedily(f, 3, RULES[name]).merges == [(0, 1), (2, 3), (4, 5)]


def test_near_pairs_suffice_where_clusters_are_plain() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.arange(6, dtype=torch.float64).repeat_interleave(10)[:, None]
    means = centres + torch.randn(60, 2, dtype=torch.float64, generator=generator)
    f = GaussianMixture.of([1 / 60] * 60, means, torch.eye(2).expand(60, 2, 2))
    near = partial(NearestToOriginal, metric=mixtures.angular, all_pairs=10, neighbours=5)
    g = mixtures.reduce_greedily(f, 6, near).mixture
    assert angle(f, g) == pytest.approx(
        angle(f, mixtures.reduce_greedily(f, 6, RULES["angle to the original"]).mixture)
    )
    assert sorted((g.means[:, 0] / 10).round().tolist()) == [0, 1, 2, 3, 4, 5]


def test_candidates_are_found_anew_when_near_pairs_run_out() -> None:
    f = joined(*(GaussianMixture.of([0.1], [[1000.0 * k]], [[[1.0]]]) for k in range(10)))
    g = mixtures.reduce_greedily(f, 1, RULES["angle to the original, near pairs"]).mixture
    torch.testing.assert_close(g.covariances[0], mixtures.overall_covariance(f))
