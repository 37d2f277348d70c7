"""Information measures: their identities on exact discrete laws, in double precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from distill_bench.information import (
    centroids,
    cmi,
    divergence,
    log_likelihood,
    ncmi,
    prototype_bound,
    separation,
)
from distill_bench.information.audit import feature_diversity
from distill_bench.information.loss import mcmi_loss


def predictions(samples: int = 60, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random log-probabilities (N, K) in double precision, and labels in which every class occurs."""
    draws = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=draws, dtype=torch.float64)
    return logits.log_softmax(1), torch.arange(samples) % classes


def entropy(p: torch.Tensor) -> torch.Tensor:
    """Of distributions in the last axis."""
    return -torch.special.xlogy(p, p).sum(-1)


def test_the_prototype_bound_misses_the_information_by_the_divergence_of_the_posterior() -> None:
    draws = torch.Generator().manual_seed(1)
    joint = torch.rand(4, 30, generator=draws, dtype=torch.float64)
    joint = joint / joint.sum(1, keepdim=True) / 4  # balanced classes
    p_x = joint.sum(0)
    posterior = (joint / p_x).T
    information = (joint * (joint / (joint.sum(1, keepdim=True) * p_x)).log()).sum()
    log_q = torch.randn(30, 4, generator=draws, dtype=torch.float64).log_softmax(1)
    bound = math.log(4) + (joint * log_q.T).sum()
    gap = (p_x * (posterior * (posterior.log() - log_q)).sum(1)).sum()
    assert float(information - bound - gap) == pytest.approx(0, abs=1e-12)
    assert gap > 0.01
    assert float(information - math.log(4) - (joint * posterior.log().T).sum()) == pytest.approx(0, abs=1e-12)


def test_cmi_is_the_information_of_the_joint_law_and_an_entropy_difference() -> None:
    log_q, labels = predictions()
    q, q_of = log_q.exp(), centroids(log_q, labels)
    joint = torch.zeros(4, 60, 4, dtype=torch.float64)  # p(y, x, yh), x uniform
    joint[labels, torch.arange(60)] = q / 60
    given = joint.sum((1, 2))
    conditional = sum(
        given[y]
        * (
            entropy(joint[y].sum(0) / given[y])
            + entropy(joint[y].sum(1) / given[y])
            - entropy((joint[y] / given[y]).flatten())
        )
        for y in range(4)
    )
    assert float(cmi(log_q, labels) - conditional) == pytest.approx(0, abs=1e-12)
    difference = entropy(q_of)[labels].mean() - entropy(q).mean()
    assert float(cmi(log_q, labels) - difference) == pytest.approx(0, abs=1e-12)


def test_cmi_is_bounded_by_what_there_is_to_know() -> None:
    log_q, labels = predictions(8)  # two images a class
    value = float(cmi(log_q, labels))
    assert 0 <= value <= math.log(2)
    sharp = (
        F.one_hot(torch.arange(8) // 4, 4).double() + 1e-300
    ).log()  # two images a class, told apart exactly
    assert float(cmi(sharp, labels)) == pytest.approx(math.log(2), abs=1e-9)
    log_q, labels = predictions(60)  # fifteen a class: log K binds
    assert 0 <= float(cmi(log_q, labels)) <= math.log(4)
    sharp = (F.one_hot(torch.arange(64) // 4 % 4, 4).double() + 1e-300).log()
    assert float(cmi(sharp, torch.arange(64) % 4)) == pytest.approx(math.log(4), abs=1e-9)


def test_cmi_is_at_most_the_entropy_of_the_images_of_a_class() -> None:
    points, _ = predictions(3, seed=7)
    of = torch.tensor([0, 0, 0, 1, 1, 2])  # one class: three images, of probabilities 1/2, 1/3 and 1/6
    law = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64) / 6
    labels = torch.zeros(6, dtype=torch.long)
    assert 0 < float(cmi(points[of], labels)) <= float(entropy(law)) < math.log(3)
    told_apart = (torch.eye(4, dtype=torch.float64)[of] + 1e-300).log()
    assert float(cmi(told_apart, labels)) == pytest.approx(float(entropy(law)), abs=1e-12)


def test_cmi_is_zero_exactly_when_predictions_are_constant_within_classes() -> None:
    log_q, _ = predictions()
    labels = torch.arange(60) % 4
    constant = log_q[:4][labels]
    assert float(cmi(constant, labels)) == pytest.approx(0, abs=1e-15)
    constant[7] = log_q[50]
    assert float(cmi(constant, labels)) > 1e-4


def test_no_bound_of_the_kind_holds_for_densities() -> None:
    differential = 0.5 * math.log(2 * math.pi * math.e * 1e-6)
    log_q, labels = predictions()
    assert differential < 0 <= float(cmi(log_q, labels))


def test_a_detached_centroid_gives_the_exact_gradient() -> None:
    logits = torch.randn(
        20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    labels = torch.arange(20) % 4

    def gradient(*, detached: bool) -> torch.Tensor:
        log_q = logits.log_softmax(1)
        centre = centroids(log_q, labels)
        value = divergence(log_q, (centre.detach() if detached else centre)[labels]).mean()
        return torch.autograd.grad(value, logits)[0]

    assert (gradient(detached=True) - gradient(detached=False)).abs().max() < 1e-12
    assert gradient(detached=True).abs().max() > 1e-3


def test_another_centroid_adds_its_own_divergence() -> None:
    log_q, labels = predictions()
    own, other = centroids(log_q, labels), predictions(seed=3)[0][:4].exp()
    excess = (own * (own.log() - other.log())).sum(1)[labels].mean()
    against = divergence(log_q, other[labels]).mean()
    assert float(against - cmi(log_q, labels) - excess) == pytest.approx(0, abs=1e-12)
    assert against > cmi(log_q, labels)
    assert float(divergence(log_q, own[labels]).mean() - cmi(log_q, labels)) == pytest.approx(0, abs=1e-15)


def test_separation_is_the_sum_over_all_pairs_of_other_labels() -> None:
    log_q, labels = predictions(24)
    pairs = -(log_q.exp() @ log_q.T)
    wanted = (pairs * (labels[:, None] != labels)).mean()
    assert float(separation(log_q, labels) - wanted) == pytest.approx(0, abs=1e-12)
    assert float(ncmi(log_q, labels)) == pytest.approx(float(cmi(log_q, labels) / wanted))


def test_centroids_are_distributions_and_an_absent_class_has_the_uniform_one() -> None:
    log_q, _ = predictions(10)
    found = centroids(log_q, torch.zeros(10, dtype=torch.long))
    assert torch.allclose(found.sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(found[0], log_q.exp().mean(0))
    assert torch.allclose(found[1], torch.full((4,), 0.25, dtype=torch.float64))


def test_gradients_of_both_terms_have_their_closed_forms_and_die_with_certainty() -> None:
    logits = torch.randn(
        1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    ).requires_grad_()
    centre = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    log_q = logits.log_softmax(1)
    context, likelihood = divergence(log_q, centre), log_likelihood(log_q, torch.tensor([1]))
    q = log_q.exp().detach()
    from_context = torch.autograd.grad(context.sum(), logits, retain_graph=True)[0]
    assert (from_context - q * ((q / centre).log() - context.detach())).abs().max() < 1e-12
    from_likelihood = torch.autograd.grad(likelihood, logits)[0]
    assert (from_likelihood - (F.one_hot(torch.tensor([1]), 4) - q)).abs().max() < 1e-12

    def norms(certainty: float) -> list[float]:
        sure = torch.tensor([[0.0, certainty, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
        log_q = sure.log_softmax(1)
        terms = (divergence(log_q, centre).sum(), log_likelihood(log_q, torch.tensor([1])))
        return [float(torch.autograd.grad(term, sure, retain_graph=True)[0].norm()) for term in terms]

    for term in zip(*(norms(certainty) for certainty in (4.0, 10.0, 20.0, 40.0)), strict=True):
        assert list(term) == sorted(term, reverse=True)
        assert term[0] > 1e-3 and term[-1] < 1e-12


def test_the_mcmi_loss_is_cross_entropy_less_the_divergence_in_the_stated_direction() -> None:
    log_q, labels = predictions()
    centre = centroids(*predictions(seed=5))
    assert torch.equal(mcmi_loss(log_q, labels, centre, 0.0), F.cross_entropy(log_q, labels))
    assert torch.equal(mcmi_loss(log_q, labels, None, 0.3), F.cross_entropy(log_q, labels))
    forward = divergence(log_q, centre[labels]).mean()
    backward = (centre[labels] * (centre[labels].log() - log_q)).sum(1).mean()
    value = mcmi_loss(log_q, labels, centre, 0.3)
    assert float(value) == pytest.approx(float(F.cross_entropy(log_q, labels) - 0.3 * forward), abs=1e-6)
    assert abs(float(forward - backward)) > 1e-2


def test_prototype_bound_is_log_k_for_perfect_predictions() -> None:
    labels = torch.arange(12) % 4
    sure = (F.one_hot(labels, 4) * 60.0).double().log_softmax(1)
    assert float(prototype_bound(sure, labels)) == pytest.approx(math.log(4))


def test_feature_diversity_is_the_mean_over_pairs() -> None:
    draws = torch.Generator().manual_seed(6)
    features, labels = torch.randn(9, 5, generator=draws), torch.arange(9) % 3
    by_class = []
    for k in range(3):
        some = features[labels == k].double()
        distances = [
            1 - F.cosine_similarity(some[i], some[j], dim=0) for i in range(3) for j in range(3) if i != j
        ]
        by_class.append(torch.stack(distances).mean())
    assert float(feature_diversity(features, labels)) == pytest.approx(float(torch.stack(by_class).mean()))
    assert float(feature_diversity(features[:3], labels[:3])) == 0
