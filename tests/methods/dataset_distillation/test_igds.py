"""IGDS: forms of beta, what it reduces to, its bound, and its effect on real digits by an independent classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch

from distill_bench import information, models, training
from distill_bench.contract import Context
from distill_bench.errors import UserError
from distill_bench.information import Estimator, EstimatorSettings, train_estimator
from distill_bench.methods.dataset_distillation import diffusion, igds
from distill_bench.methods.dataset_distillation.igds import Config, beta_at

MakeContext = Callable[..., Context]
SMOKE = ["dataset=digits", "profile=smoke"]


def test_beta_grows_with_the_images_per_class_from_nothing_at_one() -> None:
    betas = [beta_at(Config(beta0=0.7), n) for n in (1, 2, 10, 20, 50, 100)]
    assert betas[0] == 0
    assert betas == sorted(betas)
    assert betas[4] == pytest.approx(0.7)
    assert beta_at(Config(), 10) == pytest.approx(0.59, abs=0.005)


def test_beta_may_be_a_number_or_a_table() -> None:
    assert beta_at(Config(beta=0.3), 1) == beta_at(Config(beta="0.3"), 50) == 0.3
    table = Config(beta={1: 0, "10": 0.5, 50: 2.0})
    assert [beta_at(table, n) for n in (1, 10, 50)] == [0, 0.5, 2]
    assert beta_at(table, 20) == 0.5  # the nearest size


@pytest.mark.parametrize("value", ["logs", -1, {}, {10: -0.5}, [1], None])
def test_any_other_beta_is_one_line(value: Any) -> None:
    with pytest.raises(UserError, match=r"method.beta.*a number >= 0, a table \{ipc: beta\}, or log"):
        Config(beta=value)


def test_without_guidance_it_is_plain_sampling_bit_for_bit(context: MakeContext) -> None:
    plain = diffusion.run(context("method=diffusion", *SMOKE, "ipc=2"), diffusion.Config())
    ours = igds.run(context("method=igds", *SMOKE, "ipc=2"), Config(guidance_scale=0.0))
    assert torch.equal(plain.images, ours.images)
    guided = igds.run(context("method=igds", *SMOKE, "ipc=2", "seed=0"), Config(estimator_steps=4, estimator_width=8))
    assert plain.images.shape == guided.images.shape


def test_a_real_centroid_bounds_beta_and_says_where(context: MakeContext) -> None:
    words = ["method=igds", "dataset=digits", "ipc=10", "generator.train_steps=20", "generator.sampling_steps=4"]
    small: dict[str, Any] = {"estimator_steps": 300, "estimator_width": 16, "centroid": igds.Centroid.real}
    with pytest.raises(UserError, match=r"method.beta=50: at most [\d.]+ with method.centroid=real"):
        igds.run(context(*words), Config(beta=50.0, **small))
    assert igds.run(context(*words), Config(beta=50.0, allow_unsafe_beta=True, **small)).images.isfinite().all()


def estimator(ctx: Context, weight: float, steps: int = 400) -> Estimator:
    """A small one of the digits' pixels, trained with the information term for most of the time."""
    settings = EstimatorSettings(steps=steps, width=32, weight=weight, plain=0.2)
    return train_estimator(ctx, settings, (1, 8, 8), lambda x: x, {"latent": None})


def test_information_is_bought_without_errors(context: MakeContext) -> None:
    ctx = context("method=igds", "dataset=digits")
    data = ctx.dataset
    found = {}
    for weight in (0.0, 0.3):
        ctx.folder.forget("checkpoint-*.safetensors")
        made = estimator(ctx, weight)
        images = data.transform.inverse(data.train.images(torch.arange(len(data.train)))) * 2 - 1
        found[weight] = information.measure(made.net, images, data.train.labels, 10)
        assert torch.allclose(made.centroids.sum(1), torch.ones(10), atol=1e-5)
        assert not any(parameter.requires_grad for parameter in made.net.parameters())
    assert found[0.3]["cmi"] > 1.15 * found[0.0]["cmi"]
    assert found[0.3]["label_agreement"] >= found[0.0]["label_agreement"] - 1
    assert found[0.0]["label_agreement"] > 95


def test_an_estimator_of_shuffled_labels_knows_nothing(context: MakeContext) -> None:
    record = estimator(context("method=igds", "dataset=digits", "dataset.shuffled_labels=true"), 0.0, 100).record
    assert record["accuracy"] < 30
    assert record["log_likelihood"] < -0.8 * math.log(10)


def test_guidance_does_what_it_says_by_an_independent_classifier(context: MakeContext) -> None:
    words = ["dataset=digits", "ipc=10", "generator.train_steps=600", "generator.sampling_steps=15", "generator.cfg=1"]
    judged = ["student.width=32", "protocol.full_steps=400"]
    settings: dict[str, Any] = {"estimator_steps": 400, "estimator_width": 32}
    found: dict[str, list[dict[str, float]]] = {"plain": [], "beta 0": [], "beta 3": []}
    for seed in range(2):
        ctx = context("method=igds", *words, *judged, f"seed={seed}")
        net = models.build(ctx.student, channels=1, num_classes=10, resolution=8)
        net.load_state_dict(training.full_data_networks(ctx).weights[0])
        for name, scale, beta in (("plain", 0.0, 0.0), ("beta 0", 2.0, 0.0), ("beta 3", 2.0, 3.0)):
            ctx.folder.forget("checkpoint-sample.safetensors")
            made = igds.run(ctx, Config(guidance_scale=scale, beta=beta, **settings))
            found[name].append(information.measure(net.eval(), made.images, made.labels, 10))
    mean = {name: {key: fmean(one[key] for one in ones) for key in ones[0]} for name, ones in found.items()}
    assert mean["beta 3"]["cmi"] > 1.3 * mean["beta 0"]["cmi"]
    assert mean["beta 3"]["feature_diversity"] > mean["beta 0"]["feature_diversity"]
    assert mean["beta 0"]["log_likelihood"] > mean["plain"]["log_likelihood"]
    assert mean["beta 0"]["label_agreement"] >= mean["plain"]["label_agreement"]
    assert mean["beta 3"]["label_agreement"] > 85  # of a prior trained for a few seconds
