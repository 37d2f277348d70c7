"""Training a small prior: labels dropped once a sample, an annealed budget, resumption, and what is read
back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.embeddings import LabelEmbedding

from distill_bench import generative
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.files import save_tensors
from distill_bench.generative.architectures import ARCHITECTURES, DenoiserArchitecture, architecture_for
from distill_bench.generative.networks import build_network, one_label_drop
from distill_bench.generative.process import Prediction
from distill_bench.generative.training import (
    denoising_loss,
    drop_labels,
    ema_decay,
    new_network,
    rate,
    schedule,
)
from distill_bench.groups import GeneratorConfig
from distill_bench.interrupt import Interrupted
from distill_bench.methods.dataset_distillation import igds
from distill_bench.running import Run
from tests.generative.rooms import architecture_of, latent_of, modes_of, prior_of, trained_of

MakeContext = Callable[..., Context]
SMALL_DIT = DenoiserArchitecture(network="dit", width=16, depth=3, patch=2, batch=4, lr=1e-3)


def test_labels_are_dropped_once_a_sample_at_the_rate_asked_for() -> None:
    labels = torch.arange(100_000) % 10
    dropped = drop_labels(labels, 10, 0.1, torch.Generator().manual_seed(0)) == 10
    assert abs(float(dropped.float().mean()) - 0.1) < 0.005
    assert not (drop_labels(labels, 10, 0.0, torch.Generator().manual_seed(0)) == 10).any()


def gradient_rows(network: torch.nn.Module, share: float) -> list[torch.Tensor]:
    """For each label embedding of a network, the gradient norm of its rows after one loss with dropped
    labels."""
    draws = torch.Generator().manual_seed(1)
    x0, labels = torch.randn(32, 1, 8, 8, generator=draws), torch.arange(32) % 10
    labels = drop_labels(labels, 10, share, draws)
    network.train()
    denoising_loss(network, Prediction.v, schedule(8), x0, labels, 5.0, draws)[0].backward()
    tables = [m for m in network.modules() if isinstance(m, torch.nn.Embedding) and m.num_embeddings == 11]
    return [table.weight.grad.norm(dim=1) for table in tables if table.weight.grad is not None]


@pytest.mark.parametrize(
    "architecture",
    [ARCHITECTURES["digits8_mlp"], ARCHITECTURES["digits8_unet"], SMALL_DIT],
    ids=lambda p: p.network,
)
def test_the_null_row_alone_is_trained_when_all_labels_are_dropped_and_never_when_none_is(
    architecture: DenoiserArchitecture,
) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, (1, 8, 8), 10)
    for parameter in network.parameters():  # layers that start at zero pass no gradient
        torch.nn.init.normal_(parameter, std=0.1)
    everywhere = gradient_rows(network, 1.0)
    assert everywhere
    assert all(rows[10] > 0 and (rows[:10] == 0).all() for rows in everywhere)
    network.zero_grad()
    assert all(rows[10] == 0 and (rows[:10] > 0).all() for rows in gradient_rows(network, 0.0))


def test_in_training_all_blocks_of_a_dit_see_one_and_the_same_label() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL_DIT, (1, 8, 8), 10).train()
    seen: list[torch.Tensor] = []
    for module in network.modules():
        if isinstance(module, LabelEmbedding):
            module.embedding_table.register_forward_hook(
                lambda _m, inputs, _o: seen.append(inputs[0].clone())
            )
    labels = drop_labels(torch.arange(64) % 10, 10, 0.5, torch.Generator().manual_seed(2))
    network(torch.randn(64, 1, 8, 8), torch.zeros(64, dtype=torch.long), labels)
    assert len(seen) >= 3
    assert all(torch.equal(ids, labels) for ids in seen)


def test_a_dit_as_diffusers_has_it_would_drop_other_labels_in_every_block() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL_DIT, (1, 8, 8), 10).train()
    embedders = [module for module in network.modules() if isinstance(module, LabelEmbedding)]
    assert all(module.dropout_prob == 0 for module in embedders)
    assert all(module.embedding_table.num_embeddings == 11 for module in embedders)
    for module in embedders:
        module.dropout_prob = 0.1
    one_label_drop(network)
    assert all(module.dropout_prob == 0 for module in embedders)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_fresh_network_of_every_preset_keeps_the_shape_and_takes_the_null_class(name: str) -> None:
    side, channels = {"d": (8, 1), "f": (28, 1), "c": (32, 3), "t": (64, 3), "r": (128, 3)}[name[0]]
    architecture = architecture_for(GeneratorConfig(architecture=name, width=16), side)
    network = build_network(architecture, (channels, side, side), 7).eval()
    output = network(torch.randn(2, channels, side, side), torch.tensor([0, 999]), torch.tensor([0, 7]))
    assert output.shape == (2, channels, side, side)
    assert torch.isfinite(output).all()


def test_the_rate_falls_with_the_budget_and_ends_at_zero() -> None:
    steps = [rate(used / 100, 1000) for used in range(101)]
    assert all(later <= earlier for earlier, later in pairwise(steps))
    assert (steps[0], steps[-1]) == (1.0, pytest.approx(0.0, abs=1e-12))
    assert rate(0.0, 0) < 0.01


def test_the_running_mean_warms_up_and_is_bounded() -> None:
    decays = [ema_decay(step) for step in range(0, 60_000, 7)]
    assert decays[0] == 0.1
    assert max(decays) <= 0.9999
    assert all(decay <= 0.999 for decay in decays[: 50_000 // 7])
    weights, mean, closed = torch.rand(20), torch.zeros(()), 0.0
    for k, weight in enumerate(weights):
        mean.lerp_(weight, 1 - ema_decay(k))
    for k, weight in enumerate(weights.tolist()):
        rest = 1.0
        for later in range(k + 1, 20):
            rest *= ema_decay(later)
        closed += rest * (1 - ema_decay(k)) * weight
    assert float(mean) == pytest.approx(closed, rel=1e-5)


def test_time_ends_a_training_annealed(context: MakeContext) -> None:
    ctx = context("method=diffusion", "dataset=digits", "generator.train_seconds=1.5")
    made = trained_of(ctx)
    assert 1.5 <= made["training"]["seconds"] < 4
    assert 3 < made["training"]["steps"] < 2500


def test_a_training_that_is_stopped_gives_the_same_bits_as_one_that_is_not(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["method=diffusion", "dataset=digits", "generator.train_steps=12", "generator.width=16"]
    ctx = context(*words)
    whole = trained_of(ctx)["weights"]
    ctx.checkpoints.forget()
    ctx.log_every = 1
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(
            ctx.tracker, "log", lambda _p, step, _v: setattr(ctx.interrupt, "requested", step == 5)
        )
        trained_of(ctx)
    ctx.interrupt.requested = False
    resumed = trained_of(ctx)["weights"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_lowers_the_loss(context: MakeContext) -> None:
    ctx = context("method=diffusion", "dataset=digits", "generator.train_steps=200")
    ctx.log_every = 1
    trained_of(ctx)
    losses = [point["loss"] for point in ctx.tracker.points()]
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])


def test_all_seeds_share_one_prior_which_is_trained_once(context: MakeContext) -> None:
    words = ["method=diffusion", "dataset=digits", "profile=smoke"]
    first = prior_of(context(*words)).network.state_dict()
    ctx = context(*words, "seed=3")
    path = ctx.cache.path("prior", generative.prior_parts(ctx.dataset, ctx.group(GeneratorConfig)))
    written = path.stat().st_mtime_ns
    second = prior_of(ctx).network.state_dict()
    assert path.stat().st_mtime_ns == written
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("change", ["dataset.zca=true", "dataset.mean=[0.4] dataset.std=[0.2]"])
def test_what_is_learned_from_raw_pixels_does_not_change_with_their_normalisation(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    words = ["method=igds", "dataset=digits", "ipc=2", "profile=smoke"]
    cfg = igds.Config(estimator_steps=4, estimator_width=8)
    first = igds.run(context(*words), cfg)
    ctx = context(*words, *change.split())
    mgd3_ctx = context(*words, "method=mgd3")
    modes = modes_of(mgd3_ctx, prior_of(mgd3_ctx))
    latent_of(context(*words, "method=d2m"))
    monkeypatch.setattr(ctx.dataset.transform, "inverse", lambda _: pytest.fail("inverted"))
    monkeypatch.setattr(Run, "cached", only_cached)
    assert torch.equal(igds.run(ctx, cfg).images, first.images)
    assert torch.equal(modes_of(ctx, prior_of(ctx)), modes)
    latent_of(context(*words, "method=d2m", *change.split()))


def only_cached(run: Run, kind: str, parts: Mapping[str, Any], _make: Any) -> dict[str, Any]:
    """`Run.cached`, which must not make anything."""
    return run.cache.get(kind, parts, lambda: pytest.fail(f"{kind} is made again"))


def refusal(make: Callable[[], Any]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_made_elsewhere_are_read_or_refused_in_one_line(context: MakeContext, tmp_path: Path) -> None:
    words = ["method=diffusion", "dataset=digits", "profile=smoke"]
    ctx = context(*words)
    weights = new_network(architecture_of(ctx), ctx.dataset).state_dict()
    path = tmp_path / "given.safetensors"
    save_tensors(path, {"weights": weights}, {})

    def load(*more: str) -> generative.Prior:
        return prior_of(context(*words, f"generator.path={path}", *more))

    assert all(torch.equal(weights[name], value) for name, value in load().network.state_dict().items())
    assert "another architecture or class count" in refusal(
        lambda: load("generator.architecture=digits8_unet")
    )
    assert "another architecture or class count" in refusal(lambda: load("dataset.classes=[0,1]"))
    ctx.group(GeneratorConfig).path = str(tmp_path / "absent")
    assert "no such file" in refusal(lambda: prior_of(ctx))
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refusal(load)


def test_an_unknown_preset_and_a_size_without_one_are_one_line() -> None:
    assert "digits8_mlp" in refusal(lambda: architecture_for(GeneratorConfig(architecture="digits8_mpl"), 8))
    assert "224" in refusal(lambda: architecture_for(GeneratorConfig(), 224))
