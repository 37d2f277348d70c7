"""Samplers: exact laws on Gaussian priors, guidance, hooks, and images that do not depend on how they are
batched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from distill_bench import generative
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.generative.process import betas
from distill_bench.generative.sampling import CLASS_CHUNK, Step, chunks, reverse, solver, to_bytes
from distill_bench.groups import GeneratorConfig, Sampler
from distill_bench.interrupt import Interrupted
from tests.generative.analytic import gaussian_prior
from tests.generative.rooms import drawn_of, prior_of

MakeContext = Callable[..., Context]


def draw(prior: Any, count: int, config: GeneratorConfig, hook: Any = None, label: int = 0) -> torch.Tensor:
    """`count` samples of one class."""
    draws = [torch.Generator().manual_seed(i) for i in range(count)]
    return reverse(prior, torch.full((count,), label), torch.arange(count), draws, config, hook)


def settings(**changes: Any) -> GeneratorConfig:
    """A generator's config without guidance."""
    return GeneratorConfig(**{"cfg": 1.0, **changes})


class Tilt:
    """Adds the gradient of the reward `slope * x` to the score."""

    through_denoiser = True

    def __init__(self, slope: float, scale: float) -> None:
        self.slope, self.scale = slope, scale

    def __call__(self, step: Step) -> torch.Tensor:
        (gradient,) = torch.autograd.grad((self.slope * step.x0h).sum(), step.x_t)
        ab = step.alpha_bar
        eps = step.eps - (1 - ab) ** 0.5 * self.scale * gradient
        return (step.x_t - (1 - ab) ** 0.5 * eps) / ab**0.5

    def finished(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> None:
        """Nothing is kept."""


def linear_bars() -> torch.Tensor:
    """A schedule whose last step is not pure noise, where x0h is well conditioned in eps."""
    return DDPMScheduler(1000, beta_schedule="linear").alphas_cumprod


def test_an_ancestral_step_without_noise_taken_away_is_ddim_with_eta_one() -> None:
    prior = gaussian_prior([0.3], 0.5, alpha_bars=linear_bars())
    common: dict[str, Any] = {"trained_betas": betas(linear_bars()).numpy(), "prediction_type": "sample"}
    common |= {"timestep_spacing": "trailing", "clip_sample": False}
    ancestral, implicit = DDPMScheduler(**common, variance_type="fixed_small"), DDIMScheduler(**common)
    x_t, t = torch.randn(8, 1, 1, 1), torch.full((8,), 499)
    ancestral.set_timesteps(50)
    implicit.set_timesteps(50)
    x0h, _ = prior.predict(x_t, t, torch.zeros(8, dtype=torch.long))
    noise = torch.randn(8, 1, 1, 1, generator=torch.Generator().manual_seed(5))
    first = ancestral.step(x0h, 499, x_t, generator=torch.Generator().manual_seed(5)).prev_sample
    second = implicit.step(x0h, 499, x_t, eta=1.0, variance_noise=noise).prev_sample
    assert torch.allclose(first, second, atol=1e-5)


def test_the_deterministic_sampler_maps_noise_affinely_and_keeps_the_moments() -> None:
    prior = gaussian_prior([0.7], 0.25)
    samples = draw(prior, 4000, settings(sampling_steps=1000)).flatten()
    start = torch.cat([torch.randn(1, generator=torch.Generator().manual_seed(i)) for i in range(4000)])
    gain = (samples - samples.mean()) @ (start - start.mean()) / (start - start.mean()).square().sum()
    assert torch.allclose(samples, samples.mean() + gain * (start - start.mean()), atol=1e-4)
    assert abs(float(gain) - 0.5) < 0.01
    assert abs(float(samples.mean() - gain * start.mean()) - 0.7) < 0.01


@pytest.mark.parametrize("sampler", list(Sampler))
def test_every_sampler_gives_the_prior_back(sampler: Sampler) -> None:
    prior = gaussian_prior([-0.4, 0.7], 0.25)
    samples = draw(prior, 4000, settings(sampler=sampler, sampling_steps=100), label=1)
    assert abs(float(samples.mean()) - 0.7) < 0.03
    assert abs(float(samples.var()) - 0.25) < 0.03


@pytest.mark.parametrize("steps", [20, 1000])
def test_a_linear_reward_moves_the_mean_by_its_slope_times_the_variance(steps: int) -> None:
    prior = gaussian_prior([0.7], 0.25, alpha_bars=linear_bars())
    plain = draw(prior, 200, settings(sampling_steps=steps))
    tilted = draw(prior, 200, settings(sampling_steps=steps), Tilt(1.3, 0.8))
    assert abs(float((tilted - plain).mean()) - 0.8 * 0.25 * 1.3) < 0.01
    assert abs(float(tilted.var() - plain.var())) < 0.01


def test_guidance_is_affine_in_its_weight_and_asks_once_where_once_is_enough() -> None:
    prior = gaussian_prior([-1.0, 1.0], 0.5, shape=(2, 3, 3))
    x_t, t, labels = torch.randn(6, 2, 3, 3), torch.full((6,), 300), torch.tensor([0, 1] * 3)
    by_weight = {w: prior.predict(x_t, t, labels, w)[1] for w in (0.0, 1.0, 2.5)}
    assert torch.allclose(by_weight[2.5], by_weight[0.0] + 2.5 * (by_weight[1.0] - by_weight[0.0]), atol=1e-5)
    network: Any = prior.network
    for w, asked in ((1.0, 6), (0.0, 6), (2.5, 12)):
        network.calls = 0
        prior.predict(x_t, t, labels, w)
        assert network.calls == asked
    null = prior.predict(x_t, t, torch.full((6,), prior.null), 1.0)[1]
    assert torch.equal(by_weight[0.0], null)


def test_guidance_of_some_channels_leaves_the_others_conditional() -> None:
    prior = dataclasses.replace(gaussian_prior([-1.0, 1.0], 0.5, shape=(4, 2, 2)), cfg_channels=3)
    x_t, t, labels = torch.randn(2, 4, 2, 2), torch.full((2,), 300), torch.tensor([0, 1])
    some, all_of_them = prior.predict(x_t, t, labels, 4.0)[1], prior.predict(x_t, t, labels, 1.0)[1]
    assert torch.equal(some[:, 3:], all_of_them[:, 3:])
    assert not torch.allclose(some[:, :3], all_of_them[:, :3])


@pytest.mark.parametrize("sampler", list(Sampler))
def test_sampling_starts_at_pure_noise_and_takes_the_steps_asked_for(sampler: Sampler) -> None:
    times = solver(gaussian_prior([0.0], 1.0), settings(sampler=sampler, sampling_steps=20)).timesteps
    assert (len(times), int(times[0])) == (20, 999)


def test_a_hook_that_declines_leaves_every_bit_and_sees_the_posterior() -> None:
    prior = gaussian_prior([0.7], 0.25)
    seen = []

    class Watch:
        through_denoiser = False

        def __call__(self, step: Step) -> None:
            seen.append(step)

        def finished(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> None:
            """Nothing is kept."""

    config = settings(sampler=Sampler.ddpm, sampling_steps=10)
    assert torch.equal(draw(prior, 5, config), draw(prior, 5, config, Watch()))
    assert [step.index for step in seen] == list(range(10))
    assert not seen[0].x_t.requires_grad
    scheduler = solver(prior, config)
    for step in seen[:-1]:
        variance = float(scheduler._get_variance(step.t))
        assert step.posterior_std == pytest.approx(variance**0.5, rel=1e-3)


def test_classes_are_split_only_beyond_a_chunk_and_all_rows_are_drawn_once() -> None:
    for classes, per_class, batch in ((10, 1, 64), (10, 10, 64), (3, 150, 64), (200, 10, 1)):
        parts = chunks(classes, per_class, batch)
        assert sorted(torch.cat(parts).tolist()) == list(range(classes * per_class))
        for part in parts:
            labels, counts = (part // per_class).unique(return_counts=True)
            assert set(counts.tolist()) <= {min(per_class, CLASS_CHUNK), per_class % CLASS_CHUNK}
            assert len(part) <= max(batch, min(per_class, CLASS_CHUNK)) or len(labels) == 1


def test_images_do_not_depend_on_how_many_are_drawn_together(context: MakeContext) -> None:
    words = [
        "method=diffusion",
        "dataset=digits",
        "ipc=5",
        "generator.train_steps=60",
        "generator.sampling_steps=6",
    ]
    ctx = context(*words, "generator.sampling_batch=1")
    prior = prior_of(ctx)
    one_by_one = drawn_of(ctx, prior).images
    other = context(*words, "generator.sampling_batch=64")
    together = drawn_of(other, prior_of(other)).images
    assert (one_by_one.int() - together.int()).abs().max() <= 1  # of 255 levels, by rounding
    assert one_by_one.float().std() > 10


def test_a_smaller_set_is_a_part_of_a_larger_one(context: MakeContext) -> None:
    words = ["method=diffusion", "dataset=digits", "generator.train_steps=60", "generator.sampling_steps=6"]
    sets = {}
    for size in (1, 5):
        ctx = context(*words, f"ipc={size}")
        sets[size] = drawn_of(ctx, prior_of(ctx)).images.unflatten(0, (10, size))
    assert (sets[1][:, 0].int() - sets[5][:, 0].int()).abs().max() <= 1


def test_a_sampling_that_is_stopped_goes_on_with_the_hook_told_what_was_drawn(context: MakeContext) -> None:
    words = ["method=diffusion", "dataset=digits", "ipc=1", "profile=smoke", "generator.sampling_batch=1"]

    class Recorder:
        through_denoiser = False

        def __init__(self) -> None:
            self.told: list[tuple[int, float]] = []

        def __call__(self, step: Step) -> None:
            assert not step.x0h.requires_grad

        def finished(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> None:
            self.told += zip(labels_B.tolist(), images_BCHW.sum((1, 2, 3)).tolist(), strict=True)

    whole = Recorder()
    ctx = context(*words)
    prior = prior_of(ctx)
    expected = drawn_of(ctx, prior, whole).images

    class Stopping(Recorder):
        def finished(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> None:
            super().finished(images_BCHW, labels_B)
            ctx.interrupt.requested = len(self.told) == 4

    ctx.checkpoints.forget()
    with pytest.raises(Interrupted):
        drawn_of(ctx, prior, Stopping())
    ctx.interrupt.requested = False
    rest = Recorder()
    assert torch.equal(drawn_of(ctx, prior, rest).images, expected)
    assert rest.told == whole.told


@pytest.mark.parametrize(
    ("count", "batch"), [(2, 1), (1, 3)], ids=["another count", "another sampling batch"]
)
def test_a_drawing_does_not_go_on_from_a_stopped_one_of_another_size(
    context: MakeContext, count: int, batch: int
) -> None:
    ctx = context("method=diffusion", "dataset=digits", "ipc=1", "profile=smoke")
    prior, config = prior_of(ctx), ctx.group(GeneratorConfig)
    first, other = (dataclasses.replace(config, sampling_batch=size) for size in (1, batch))
    expected = generative.draw_set(ctx, ctx.dataset, prior, other, count).images
    ctx.checkpoints.forget()

    class Stopping:
        through_denoiser = False
        images = 0

        def __call__(self, step: Step) -> None:
            """Every step stays as it is."""

        def finished(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> None:  # noqa: ARG002
            self.images += len(images_BCHW)
            ctx.interrupt.requested = self.images == 4

    with pytest.raises(Interrupted):
        generative.draw_set(ctx, ctx.dataset, prior, first, 1, Stopping())
    ctx.interrupt.requested = False
    assert torch.equal(generative.draw_set(ctx, ctx.dataset, prior, other, count).images, expected)


def test_how_many_are_drawn_together_is_no_part_of_the_product_and_guidance_is(
    plan: Callable[..., Any],
) -> None:
    words = ["method=diffusion", "dataset=digits", "ipc=1", "profile=smoke"]
    product = plan(*words).product.product_id
    assert plan(*words, "generator.sampling_batch=7").product.product_id == product
    assert plan(*words, "student=convnet_bn", "protocol.nets=3").product.product_id == product
    assert plan(*words, "generator.cfg=3").product.product_id != product


def test_a_network_whose_weights_are_damaged_ends_the_run_in_one_line(context: MakeContext) -> None:
    words = ["method=diffusion", "dataset=digits", "ipc=1", "profile=smoke"]
    ctx = context(*words)
    prior = prior_of(ctx)
    with torch.no_grad():
        next(prior.network.parameters()).fill_(float("nan"))
    with pytest.raises(UserError) as caught:
        drawn_of(ctx, prior)
    assert "class 0 are not finite" in str(caught.value)
    assert "generator.cfg" in str(caught.value)
    assert "weights damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_image_that_is_not_finite_becomes_no_bytes_and_its_class_is_named(value: float) -> None:
    prior = gaussian_prior([0.0, 0.0, 0.0], 1.0, shape=(1, 2, 2))
    samples = torch.zeros(4, 1, 2, 2)
    assert to_bytes(prior, samples, 2, torch.tensor([0, 1, 2, 2])).unique().tolist() == [128]
    samples[3, 0, 1, 0] = value
    with pytest.raises(UserError, match="class 2 are not finite"):
        to_bytes(prior, samples, 2, torch.tensor([0, 1, 2, 2]))
