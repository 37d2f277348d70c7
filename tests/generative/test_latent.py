"""Latent-variable generators: their face, their training, their files, and the latent vectors of a set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.generative import latent
from distill_bench.generative.latent.architectures import ARCHITECTURES, architecture_for
from distill_bench.generative.latent.build import build_companion
from distill_bench.generative.latent.cvae import negative_bound
from distill_bench.generative.latent.layers import ladder
from distill_bench.generative.latent.objectives import objective
from distill_bench.interrupt import Interrupted
from distill_bench.running import Run
from tests.generative.rooms import latent_of

MakeContext = Callable[..., Context]
WORDS = ["method=d2m", "dataset=digits", "ipc=1", "profile=smoke"]


def shape(kind: str, resolution: int, channels: int = 3, classes: int = 4) -> latent.GeneratorShape:
    noise = 60 if kind == "biggan" else 6
    return latent.GeneratorShape(
        kind=kind, noise=noise, width=4, num_classes=classes, channels=channels, resolution=resolution
    )


ALL = [
    *(shape("cvae", size) for size in (8, 16, 32, 64)),
    shape("cvae", 28, channels=1),
    *(shape("cgan", size) for size in (8, 32, 64)),
    shape("cgan", 28, channels=1),
    *(shape("biggan", size) for size in (32, 64, 128)),
]


@pytest.mark.parametrize("which", ALL, ids=lambda r: f"{r.kind} {r.resolution}")
def test_images_are_of_the_size_asked_for_within_bounds_and_depend_on_vector_and_label(
    which: latent.GeneratorShape,
) -> None:
    generator = latent.build_generator(which).eval()
    z, labels = (
        torch.randn(3, generator.noise, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 1]),
    )
    with torch.no_grad():
        for module in generator.modules():  # gains start at 1 for every class: make the classes differ
            if isinstance(module, torch.nn.Linear) and module.bias is None and module.weight.abs().sum() == 0:
                module.weight.normal_(generator=torch.Generator().manual_seed(1))
        images = generator(z, labels)
        assert images.shape == (3, *which.image_shape)
        assert images.abs().max() <= 1
        torch.testing.assert_close(generator(z[1:2], labels[1:2]), images[1:2], atol=1e-4, rtol=1e-3)
        assert not torch.allclose(generator(z.flip(0), labels), images, atol=1e-4)
        assert not torch.allclose(generator(z, 2 + labels), images, atol=1e-4)


@pytest.mark.parametrize("which", [shape("cgan", 16), shape("biggan", 32), shape("biggan", 64)], ids=str)
def test_a_step_of_a_gan_changes_both_networks_and_its_losses_are_finite(
    which: latent.GeneratorShape,
) -> None:
    generator, discriminator = latent.build_generator(which), build_companion(which)
    before = [[p.clone() for p in net.parameters()] for net in (generator, discriminator)]
    architecture = replace(ARCHITECTURES["cgan"], discriminator_steps=2)
    training = objective(generator, discriminator, architecture, 1e-3)
    draws = torch.Generator().manual_seed(0)
    batch = (torch.rand(4, *which.image_shape, generator=draws), torch.tensor([0, 1, 2, 3]))
    losses = training.step([batch, batch], draws, 1.0)
    assert all(value.isfinite() for value in losses.values())
    for old, net in zip(before, (generator, discriminator), strict=True):
        assert any(not torch.equal(p, q) for p, q in zip(old, net.parameters(), strict=True))
    assert all(p.requires_grad for p in discriminator.parameters())


def test_layers_of_the_discriminator_have_norm_one() -> None:
    which = shape("cgan", 16)
    discriminator, draws = build_companion(which), torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, *which.image_shape, generator=draws), torch.arange(8) % 4
    for _ in range(60):
        discriminator(images, labels)
    for module in discriminator.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert float(torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)) == pytest.approx(
                1, abs=0.02
            )


def test_running_statistics_and_singular_vectors_are_frozen_in_evaluation_mode() -> None:
    generator = latent.build_generator(shape("biggan", 32)).eval()
    before = {name: value.clone() for name, value in generator.named_buffers()}
    generator(torch.randn(2, generator.noise), torch.tensor([0, 1])).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in generator.named_buffers())


def test_the_bound_is_the_error_and_the_divergence_from_the_standard_normal() -> None:
    draws = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 1, 4, 4, generator=draws) for _ in range(2))
    zero, mean, log_variance = torch.zeros(5, 3), torch.full((5, 3), 0.7), torch.full((5, 3), -0.4)
    assert float(negative_bound(x, x, zero, zero, 0.3)) == 0
    error = float((x - y).square().mean()) / 0.6
    assert float(negative_bound(x, y, zero, zero, 0.3)) == pytest.approx(error)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = (
        torch.distributions.kl_divergence(posterior, torch.distributions.Normal(zero, zero + 1)).sum(1).mean()
        / 16
    )
    assert float(negative_bound(x, x, mean, log_variance, 0.3)) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(
    ("resolution", "wanted"), [(8, (4, 1)), (28, (7, 2)), (32, (4, 3)), (64, (4, 4)), (96, (6, 4))]
)
def test_maps_double_up_to_the_resolution(resolution: int, wanted: tuple[int, int]) -> None:
    side, doublings = ladder(resolution)
    assert (side, doublings) == wanted
    assert side * 2**doublings == resolution


def test_a_size_that_cannot_be_reached_by_doubling_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.resolution=33"):
        ladder(33)
    with pytest.raises(UserError, match="32, 64 or 128"):
        latent.build_generator(shape("biggan", 48))


def test_a_preset_of_another_kind_is_refused() -> None:
    assert architecture_for("auto", "cvae", 8) is ARCHITECTURES["cvae_mlp"]
    assert architecture_for("auto", "cvae", 32) is ARCHITECTURES["cvae_conv"]
    with pytest.raises(UserError, match=r"generator\.architecture=cgan: none of generator\.kind=cvae"):
        architecture_for("cgan", "cvae", 32)


def test_the_average_follows_its_formula_and_takes_the_buffers() -> None:
    net, average = (latent.build_generator(shape("cgan", 8), seed) for seed in (0, 1))
    net.get_buffer("norms.0.norm.running_mean").fill_(3.0)
    for step, decay in ((0, 0.1), (10_000_000, 0.9)):
        first = next(average.parameters()).clone()
        latent.update_average_of(average, net, step, 0.9)
        torch.testing.assert_close(
            next(average.parameters()), decay * first + (1 - decay) * next(net.parameters())
        )
    assert float(average.get_buffer("norms.0.norm.running_mean")[0]) == 3


def test_the_vectors_of_fewer_images_are_the_first_of_those_of_more() -> None:
    one, ten = latent.class_noise(0, 3, 1, 20), latent.class_noise(0, 3, 10, 20)
    assert torch.equal(one, ten[:, :1])
    assert len({float(v) for v in ten.flatten()}) > 590
    assert not torch.equal(one, latent.class_noise(1, 3, 1, 20))
    assert torch.equal(latent.class_noise(0, 2, 4, 20), ten[:2, :4])


def test_images_do_not_depend_on_how_many_are_drawn_together() -> None:
    generator = latent.build_generator(shape("cgan", 16)).eval()
    noise = latent.class_noise(0, 4, 5, generator.noise)
    images = latent.draw_images(generator, noise, 3)
    assert images.shape == (4, 5, 3, 16, 16)
    torch.testing.assert_close(images, latent.draw_images(generator, noise, 64), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        images[:, :1], latent.draw_images(generator, noise[:, :1], 64), atol=1e-6, rtol=1e-5
    )


def agreement(ctx: Context, generator: latent.LatentGenerator) -> float:
    """Share of drawn digits whose nearest real image has their label."""
    train = ctx.dataset.train
    real = train.unit(torch.arange(len(train))) * 2 - 1
    drawn = latent.draw_images(generator, latent.class_noise(0, 10, 20, generator.noise), 64)
    nearest = torch.cdist(drawn.flatten(0, 1).flatten(1), real.flatten(1)).argmin(1)
    return float((train.labels[nearest] == torch.arange(10).repeat_interleave(20)).float().mean())


def test_a_trained_decoder_draws_digits_of_the_class_asked_for_and_a_shuffled_one_does_not(
    context: MakeContext,
) -> None:
    words = [*WORDS, "generator.width=128", "generator.batch_size=128"]
    trained = context(*words, "generator.train_steps=400")
    assert agreement(trained, latent_of(trained)) > 0.85
    control = context(*words, "generator.train_steps=400", "dataset.shuffled_labels=true")
    assert agreement(trained, latent_of(control)) < 0.3


def test_training_goes_on_where_it_was_stopped(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [*WORDS, "generator=small_cgan", "generator.train_steps=6", "generator.width=8"]
    whole = latent.weights_digest(latent_of(context(*words)))
    ctx, steps = context(*words, "seed=1"), list[int]()
    ctx.cache.root = tmp_path / "another"

    def stop(run: Run, phase: str, step: int, **values: object) -> None:  # noqa: ARG001
        steps.append(step)
        run.interrupt.requested = len(steps) == 4

    monkeypatch.setattr(Run, "log", stop)
    with pytest.raises(Interrupted):
        latent_of(ctx)
    ctx.interrupt.requested = False
    assert latent.weights_digest(latent_of(ctx)) == whole
    assert steps == list(range(6))  # none of them twice


def test_training_ends_when_its_time_is_up(context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = list[int]()
    monkeypatch.setattr(Run, "log", lambda _run, _phase, step, **_values: steps.append(step))
    latent_of(context(*WORDS, "generator.train_steps=100000", "generator.train_seconds=0.2"))
    assert 0 < len(steps) < 50_000


def test_a_trained_generator_is_made_once_for_all_seeds_and_sizes(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = latent.weights_digest(latent_of(context(*WORDS)))
    monkeypatch.setattr(Run, "loop", lambda *_: pytest.fail("trained again"))
    assert latent.weights_digest(latent_of(context(*WORDS, "seed=3", "ipc=5"))) == digest


def test_a_file_gives_the_generator_back(tmp_path: Path) -> None:
    generator = latent.build_generator(shape("biggan", 32), seed=5)
    latent.save_latent(tmp_path / "g.safetensors", generator)
    again = latent.read_latent(tmp_path / "g.safetensors")
    assert again.shape == generator.shape
    assert latent.weights_digest(again) == latent.weights_digest(generator)
    assert latent.weights_digest(latent.build_generator(generator.shape, seed=6)) != latent.weights_digest(
        generator
    )


def one_line(ctx: Context) -> str:
    with pytest.raises(UserError) as caught:
        latent_of(ctx)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_file_is_one_clear_line(context: MakeContext, tmp_path: Path) -> None:
    file = tmp_path / "g.safetensors"
    with pytest.raises(UserError, match="there is no such file"):
        latent.read_latent(file)
    words = [*WORDS, "generator=checkpoint", f"generator.path={file}"]
    fitting = shape("cvae", 8, channels=1, classes=10)
    for other, said in (
        (shape("cgan", 8, channels=1, classes=10), "a cgan of 10 classes"),
        (shape("cvae", 8, channels=1, classes=4), "a cvae of 4 classes"),
        (shape("cvae", 16, channels=1, classes=10), "1 x 16 x 16 images"),
    ):
        latent.save_latent(file, latent.build_generator(other))
        assert said in one_line(context(*words))
    latent.save_latent(file, latent.build_generator(fitting))
    assert latent_of(context(*words)).shape == fitting
    file.write_bytes(file.read_bytes()[:-8])
    assert "not a whole generator" in one_line(context(*words))
    assert "generator.path=(empty)" in one_line(context(*WORDS, "generator=checkpoint"))
    assert "needs a latent vector" in one_line(context(*WORDS, "generator=trained"))


def test_a_diffusion_model_is_nothing_to_distil_into_and_says_so_before_anything_is_made() -> None:
    with pytest.raises(
        UserError, match=r"generator.kind=diffusion: must be one that is distilled into: generator=cvae"
    ):
        architecture_for("auto", "diffusion", 8)
