"""The ancestral chain: its times, the noise of each step as hooks are told it, and an end without noise."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_bench.errors import UserError
from distill_bench.generative.prior import Prior
from distill_bench.generative.sampling import Step, reverse
from distill_bench.generative.solver import ancestral_step, published_times, solver
from distill_bench.groups import GeneratorConfig, Sampler, Timesteps, Variance
from distill_bench.planning import compose, typed
from tests.conftest import make_plan
from tests.generative.analytic import gaussian_prior

EVERY_VARIANCE = pytest.mark.parametrize("variance", list(Variance), ids=lambda variance: variance.name)
BOTH_TIMES = pytest.mark.parametrize("timesteps", list(Timesteps), ids=lambda timesteps: timesteps.name)


class WithVariance(nn.Module):
    """A network that says, beside what another predicts, where the variance lies between its ends."""

    def __init__(self, network: nn.Module, word: float | None) -> None:
        super().__init__()
        self.network, self.word = network, word

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        word = x_t.sin() if self.word is None else torch.full_like(x_t, self.word)
        return torch.cat([self.network(x_t, t, labels), word], dim=1)


class Watch:
    """Keeps every step."""

    through_denoiser = False

    def __init__(self) -> None:
        self.seen: list[Step] = []

    def __call__(self, step: Step) -> None:
        self.seen.append(step)

    def finished(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
        """Nothing is kept."""


def learned_prior(word: float | None = None) -> Prior:
    """A Gaussian prior whose network says `word` of the variance; None: another thing everywhere."""
    prior = gaussian_prior([0.7], 0.25, shape=(2, 3, 3))
    return dataclasses.replace(prior, network=WithVariance(prior.network, word), learned_variance=True)


def ancestral(**changes: Any) -> GeneratorConfig:
    return GeneratorConfig(**{"cfg": 1.0, "sampler": Sampler.ddpm, "sampling_steps": 7, **changes})


def watched(prior: Prior, config: GeneratorConfig) -> tuple[list[Step], Tensor]:
    """The steps of three images, and the images."""
    watch, draws = Watch(), [torch.Generator().manual_seed(i) for i in range(3)]
    samples = reverse(prior, torch.zeros(3, dtype=torch.long), torch.arange(3), draws, config, watch)
    return watch.seen, samples


def test_published_times_of_fifty_steps_are_those_of_the_code_of_dit() -> None:
    times = published_times(50)
    assert times[:4] == [999, 979, 958, 938]
    assert times[-3:] == [41, 20, 0]
    scheduler = solver(learned_prior(), ancestral(sampling_steps=50, timesteps=Timesteps.published))
    assert scheduler.timesteps.tolist() == times


@pytest.mark.parametrize("count", [2, 3, 10, 50, 250, 333, 998, 999, 1000])
def test_published_times_are_the_nearest_whole_ones_to_even_spacing_with_both_ends(count: int) -> None:
    times = published_times(count)
    assert (len(set(times)), times[0], times[-1]) == (count, 999, 0)
    for index, time in enumerate(reversed(times)):
        assert abs(time - index * 999 / (count - 1)) <= 0.5 + 1e-9


@BOTH_TIMES
@EVERY_VARIANCE
def test_the_last_step_takes_the_prediction_itself(variance: Variance, timesteps: Timesteps) -> None:
    seen, samples = watched(learned_prior(), ancestral(variance=variance, timesteps=timesteps))
    assert torch.equal(samples, seen[-1].x0h)
    assert seen[-1].t == (0 if timesteps is Timesteps.published else 142)


@BOTH_TIMES
@EVERY_VARIANCE
def test_hooks_are_told_the_noise_and_the_weight_that_a_step_has(
    variance: Variance, timesteps: Timesteps
) -> None:
    """x_s less w x0h and its share of x_t is `posterior_std` times the noise of each image's generator."""
    seen, _ = watched(learned_prior(), ancestral(variance=variance, timesteps=timesteps))
    draws = [torch.Generator().manual_seed(i) for i in range(3)]
    noise = lambda: torch.stack([torch.randn(2, 3, 3, generator=draw) for draw in draws])  # noqa: E731
    assert torch.equal(seen[0].x_t, noise())
    for step, after in pairwise(seen):
        now, then = step.alpha_bar, after.alpha_bar
        mean = step.x0_weight * step.x0h + (now / then) ** 0.5 * (1 - then) / (1 - now) * step.x_t
        torch.testing.assert_close(after.x_t, mean + step.posterior_std * noise(), atol=2e-5, rtol=1e-4)


def test_the_variances_are_the_ends_of_the_learned_range() -> None:
    times = published_times(50)

    def std(variance: Variance, index: int, word: float) -> float:
        said = torch.full((1, 1, 1, 1), word)
        step = ancestral_step(learned_prior(), ancestral(variance=variance), times, index, said)
        return float(step.std)

    for index in range(49):
        small, large = (std(kind, index, 0.0) for kind in (Variance.fixed_small, Variance.fixed_large))
        assert small < large
        assert std(Variance.learned_range, index, -1.0) == pytest.approx(small, rel=1e-5)
        assert std(Variance.learned_range, index, 1.0) == pytest.approx(large, rel=1e-5)
        assert std(Variance.learned_range, index, 0.0) == pytest.approx((small * large) ** 0.5, rel=1e-5)
    before = std(Variance.fixed_small, 48, 0.0)
    assert std(Variance.fixed_small, 49, 0.0) == 0.0
    assert std(Variance.fixed_large, 49, 0.0) == pytest.approx(before)
    assert std(Variance.learned_range, 49, -1.0) == pytest.approx(before, rel=1e-5)


def test_a_prior_that_has_not_learned_a_variance_has_the_small_one() -> None:
    prior = gaussian_prior([0.7], 0.25, shape=(2, 3, 3))
    drawn = [
        watched(prior, ancestral(variance=kind))[1] for kind in (Variance.learned_range, Variance.fixed_small)
    ]
    assert torch.equal(*drawn)


def test_the_times_of_deterministic_solvers_are_their_own(tmp_path: Any) -> None:
    words = "method=diffusion", "dataset=digits", "generator.timesteps=published"
    with pytest.raises(UserError, match=r"generator\.timesteps"):
        make_plan(*words, roots=tmp_path)
    make_plan(*words, "generator.sampler=ddpm", roots=tmp_path)


def test_trailing_times_are_no_part_of_what_was_drawn_before_there_were_others() -> None:
    assert "timesteps" not in ancestral().identity()
    assert "timesteps" in ancestral(timesteps=Timesteps.published).identity()
    assert "timesteps" in ancestral(variance=Variance.learned_range).identity()
    dit: GeneratorConfig = typed(
        GeneratorConfig, compose(["method=diffusion", "generator=dit_xl2_256"]).config.generator, "generator"
    )
    assert dit.timesteps is Timesteps.published
