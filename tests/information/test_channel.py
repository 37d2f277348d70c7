"""The channel: what its loss is, which noise it sees, and what learns when."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill_bench import training
from distill_bench.context import Context
from distill_bench.information import ChannelTraining, Space, real_centroids, train_channel
from distill_bench.information.channel import Views, Word, noisy
from distill_bench.information.contrast import Contrast, contrast, jeffreys_halves

MakeContext = Callable[..., Context]

PLAN = ChannelTraining(
    symbols=16,
    channel_steps=4,
    channel_batch=6,
    channel_width=8,
    channel_lr=0.01,
    views=3,
    queue=40,
    momentum=0.9,
    contrast_temperature=0.1,
    term_temperature=0.5,
    term_weight=0.1,
    divergence="lautum",
    head_steps=4,
    head_noisy=True,
    head_temperature=0.1,
)
PIXELS = Space(lambda pixels: pixels * 2 - 1, torch.linspace(0.99, 0.01, 100))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_both_directions_are_what_they_say_and_add_up_to_jeffreys_divergence() -> None:
    log_p = normal(8, 5, 6).log_softmax(-1)
    p, q = log_p.exp(), log_p.exp().mean(0)
    lautum, mutual = jeffreys_halves(log_p)
    torch.testing.assert_close(lautum, (q * (q.log() - log_p)).sum(-1).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(mutual, (p * (log_p - q.log())).sum(-1).mean(), rtol=1e-12, atol=0)
    jeffreys = ((p - q) * (log_p - q.log())).sum(-1).mean()
    torch.testing.assert_close(lautum + mutual, jeffreys, rtol=1e-12, atol=0)
    assert abs(float(lautum - mutual)) > 1e-3  # each differs from its swap
    assert 0 <= float(mutual) <= math.log(8)


def test_lautum_pulls_predictions_to_their_mean_and_detaching_is_exact_for_mutual_alone() -> None:
    features = normal(7, 1, 12).requires_grad_()
    log_p = (features / 0.5).log_softmax(-1)
    (gradient,) = torch.autograd.grad(jeffreys_halves(log_p)[0], features, retain_graph=True)
    p = log_p.exp().detach()
    torch.testing.assert_close(gradient, (p - p.mean(0)) / (7 * 0.5), rtol=1e-9, atol=1e-12)
    attached_q = (log_p.logsumexp(0) - math.log(7)).expand_as(log_p)
    mutual = (log_p.exp() * (log_p - attached_q)).sum(-1).mean()
    lautum = (attached_q.exp() * (attached_q - log_p)).sum(-1).mean()
    for attached, detached, equal in zip(
        (lautum, mutual), jeffreys_halves(log_p), (False, True), strict=True
    ):
        full, cut = (torch.autograd.grad(v, features, retain_graph=True)[0] for v in (attached, detached))
        assert torch.allclose(full, cut, rtol=1e-10, atol=1e-12) is equal


def test_equal_views_have_no_term_and_no_gradient() -> None:
    features = normal(1, 4, 12).expand(8, -1, -1).clone().requires_grad_()
    for term in jeffreys_halves(features.log_softmax(-1)):
        assert abs(float(term.detach())) < 1e-12
        assert torch.autograd.grad(term, features, retain_graph=True)[0].abs().max() < 1e-12


def test_the_contrast_bounds_the_logarithm_of_the_keys_and_sees_through_chance() -> None:
    unit = torch.nn.functional.normalize
    queries, queue = unit(normal(64, 16), dim=1), unit(normal(500, 16, seed=1), dim=1)
    bounds = [math.log(501) - float(contrast(queries, keys, queue, 0.1)) for keys in (queries, queue[:64])]
    assert bounds[0] <= math.log(501) and bounds[0] > 2  # keys that are the queries
    assert bounds[1] < 0.2  # keys that know nothing of them


def test_an_instance_has_one_share_and_one_noise_and_keeps_its_variance() -> None:
    views = normal(1, 20_000, 1, 1, 1).expand(2, -1, 1, 1, 1)
    out = noisy(views, torch.rand(20_000, dtype=torch.float64), torch.Generator().manual_seed(9))
    assert torch.equal(out[0], out[1])
    assert float(out.var()) == pytest.approx(1, abs=0.03)


def test_the_slow_copy_and_the_queue_follow_their_closed_forms() -> None:
    torch.manual_seed(0)
    net = Word(8, 16, (1, 8, 8))
    start = {name: value.detach().clone() for name, value in net.named_parameters()}
    objective = Contrast(net, PLAN, keys=40)
    slow = objective._nets[1]
    first = objective.queue.clone()
    shown = []
    for step in range(2):
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(1.0)
        images = torch.rand(1, 18, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        loss = objective(net(images[0]), training.Batch(images, torch.zeros(1, 18, dtype=torch.long)))
        loss.backward()
        with torch.no_grad():
            shown.append(slow(images[0]).unflatten(0, (3, 6)).mean(0))
    for name, weight in slow.named_parameters():  # 0.9 (0.9 w + 0.1 (w + 1)) + 0.1 (w + 2)
        torch.testing.assert_close(weight, start[name] + 0.29, rtol=1e-5, atol=1e-5)
        assert weight.grad is None
    torch.testing.assert_close(objective.queue[:6], shown[1])  # the newest first
    torch.testing.assert_close(objective.queue[12:], first[:28])
    assert not objective.queue.requires_grad


def test_the_queue_and_the_copy_are_state_of_the_training() -> None:
    objective = Contrast(Word(8, 16, (1, 8, 8)), PLAN, keys=40)
    assert {name for name, _ in objective.named_buffers()} == {"slow", "queue"}
    assert not list(objective.parameters())
    slow_weight = next(objective._nets[1].parameters())
    before = slow_weight.clone()
    objective.slow.add_(1.0)  # as a checkpoint fills it
    torch.testing.assert_close(slow_weight, before + 1)


def test_views_follow_from_the_step_and_share_their_label(context: MakeContext) -> None:
    views = Views(context("method=igds", "dataset=digits").dataset, PIXELS, 3, 5)
    images, labels = views.draw(7)
    again, _ = views.draw(7)
    assert torch.equal(images, again) and images.shape == (15, 1, 8, 8)
    assert torch.equal(labels, labels[:5].repeat(3))
    assert not torch.equal(images, views.draw(8)[0])


def test_the_head_leaves_the_channel_as_it_is_and_both_are_frozen(context: MakeContext) -> None:
    ctx = context("method=igds", "dataset=digits")
    made = [
        train_channel(ctx, ctx.dataset, plan, (1, 8, 8), PIXELS, {"latent": None})
        for plan in (PLAN, replace(PLAN, head_steps=40))
    ]
    for one, other in zip(made[0].word.parameters(), made[1].word.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not all(map(torch.equal, made[0].head.parameters(), made[1].head.parameters()))
    assert not any(weight.requires_grad for weight in made[0].parameters())
    images = torch.rand(4, 1, 8, 8)
    predictions = made[0].predict(images)
    assert predictions.symbols is not None
    torch.testing.assert_close(predictions.symbols.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(predictions.labels / 0.1, made[0](images))
    rows = real_centroids(ctx.dataset, made[0].word, PIXELS.clean, 0.1)
    torch.testing.assert_close(rows.sum(1), torch.ones(10))
    assert rows.shape == (10, 16)
