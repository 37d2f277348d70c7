"""Information guidance: exact laws on Gaussian priors, and what must change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from distill_bench.generative.guidance import (
    GradientPath,
    GuidanceForm,
    InformationGuidance,
    Normalisation,
    gradient_factor,
)
from distill_bench.generative.process import cosine
from distill_bench.generative.sampling import Shift, Step, reverse
from distill_bench.generative.solver import ancestral_step
from distill_bench.groups import GeneratorConfig, Sampler
from distill_bench.information import Predictions
from tests.generative.analytic import gaussian_prior
from tests.generative.test_sampling import linear_bars

SHAPE = (1, 2, 2)


def classifier(x: Tensor) -> Tensor:
    """Three fixed linear logits of the four elements."""
    weights = torch.tensor([[1.0, -0.5, 0.2, 0.1], [-0.3, 0.8, -0.6, 0.2], [0.1, 0.3, 0.9, -1.0]])
    return x.flatten(1) @ weights.T.to(x.dtype)


def hook(
    logits: Callable[[Tensor], Tensor] = classifier, prior: Any = None, variance: float = 0.25, **changes: Any
) -> InformationGuidance:
    """A guidance of three classes without a trust region."""
    form = GuidanceForm(**{"scale": 1.0, "beta": 1.0, "trust": 0.0, **changes})
    real = torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
    prior = prior or gaussian_prior([0.0] * 3, 0.25, SHAPE)
    return InformationGuidance(form, lambda x: Predictions(logits(x)), prior, real, variance)


def draw(guidance: InformationGuidance | None, count: int = 6, prior: Any = None, steps: int = 20) -> Tensor:
    """`count` samples, of the classes 0, 1, 2 in turn."""
    prior = prior or gaussian_prior([0.0, 0.3, -0.3], 0.25, SHAPE, linear_bars())
    labels = torch.arange(count) % 3
    draws = [torch.Generator().manual_seed(i) for i in range(count)]
    config = GeneratorConfig(cfg=1.0, sampling_steps=steps)
    return reverse(prior, labels, torch.arange(count) // 3, draws, config, guidance)


@pytest.mark.parametrize("changes", [{"scale": 0.0}, {"window": (0.5, 0.5)}, {"window": (0.0, 0.0)}])
def test_no_guidance_is_the_plain_sampler_bit_for_bit(changes: dict[str, Any]) -> None:
    assert torch.equal(draw(None), draw(hook(**changes)))


def test_guidance_acts_only_inside_its_window() -> None:
    acted: list[int] = []

    class Watch(InformationGuidance):
        def reward(self, x0h: Tensor, labels: Tensor) -> Tensor:
            acted.append(1)
            return super().reward(x0h, labels)

    base = hook(window=(0.25, 0.75))
    watch = Watch(base.form, base.predict, base.prior, base.real_KS, base.variance)
    draw(watch, steps=20)
    assert len(acted) == 10


def test_beta_zero_is_classifier_guidance_bit_for_bit() -> None:
    class ClassifierGuidance:
        through_denoiser = False

        def __call__(self, step: Step) -> Tensor:
            x0h = step.x0h.detach().requires_grad_()
            reward = classifier(x0h).float().log_softmax(1).gather(1, step.labels[:, None]).sum()
            (gradient,) = torch.autograd.grad(reward, x0h)
            ab = step.alpha_bar
            delta = -((1 - ab) ** 0.5) * 1.5 * gradient_factor("shrunk", ab, 0.25) * gradient
            return (step.x0h - ((1 - ab) / ab) ** 0.5 * delta).detach()

        def finished(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
            """Nothing is kept."""

    guided: Any = ClassifierGuidance()
    assert torch.equal(draw(hook(scale=1.5, beta=0.0)), draw(guided))
    assert not torch.equal(draw(hook(scale=1.5, beta=1.0)), draw(guided))


def test_one_image_a_class_is_independent_of_beta_with_its_own_centroid_and_not_with_a_real_one() -> None:
    assert torch.equal(draw(hook(beta=0.0), count=3), draw(hook(beta=5.0), count=3))
    real: dict[str, Any] = {"centroid": "real"}
    assert not torch.equal(draw(hook(beta=0.0, **real), count=3), draw(hook(beta=5.0, **real), count=3))


def test_permuting_the_images_of_a_class_permutes_the_outputs() -> None:
    prior = gaussian_prior([0.0, 0.3, -0.3], 0.25, SHAPE, linear_bars())
    config = GeneratorConfig(cfg=1.0, sampling_steps=10)
    order, labels = torch.tensor([4, 1, 3, 0, 2]), torch.zeros(5, dtype=torch.long)

    def sample(seeds: Tensor) -> Tensor:
        draws = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        return reverse(prior, labels, torch.arange(5), draws, config, hook(beta=2.0))

    assert torch.allclose(sample(torch.arange(5))[order], sample(order), atol=1e-5)


class LinearReward(InformationGuidance):
    """A reward that is linear in x0h, with slope 1.3."""

    def reward(self, x0h: Tensor, labels: Tensor) -> Tensor:
        return 1.3 * x0h.sum() + 0 * labels.sum()


@pytest.mark.parametrize("steps", [20, 1000])
@pytest.mark.parametrize("kind", ["exact", "shrunk"])
def test_a_linear_reward_moves_a_gaussian_prior_by_scale_variance_slope(
    kind: GradientPath, steps: int
) -> None:
    prior = gaussian_prior([0.7], 0.25, alpha_bars=linear_bars())
    form = GuidanceForm(scale=0.8, beta=0.0, trust=0.0, gradient=kind)
    guided = LinearReward(form, lambda x: Predictions(classifier(x)), prior, torch.ones(1, 1), 0.25)

    def sample(guidance: InformationGuidance | None) -> Tensor:
        draws = [torch.Generator().manual_seed(i) for i in range(100)]
        config, zeros = GeneratorConfig(cfg=1.0, sampling_steps=steps), torch.zeros(100, dtype=torch.long)
        return reverse(prior, zeros, zeros, draws, config, guidance)

    plain, moved = sample(None), sample(guided)
    assert abs(float((moved - plain).mean()) - 0.8 * 0.25 * 1.3) < 0.01
    assert abs(float(moved.var() - plain.var())) < 0.01


def test_the_shrunk_factor_is_the_exact_gradient_of_a_gaussian_prior() -> None:
    exact = draw(hook(gradient="exact"), prior=gaussian_prior([0.0] * 3, 0.25, SHAPE, linear_bars()))
    shrunk = draw(hook(gradient="shrunk"), prior=gaussian_prior([0.0] * 3, 0.25, SHAPE, linear_bars()))
    assert (exact - shrunk).abs().max() < 1e-6
    other = draw(
        hook(gradient="shrunk", variance=0.5),
        prior=gaussian_prior([0.0] * 3, 0.25, SHAPE, linear_bars()),
    )
    assert (exact - other).abs().max() > 1e-3


def test_factors_agree_at_low_noise_and_only_the_naive_one_overshoots_at_high_noise() -> None:
    assert gradient_factor("shrunk", 0.99999, 0.25) == pytest.approx(0.99999**-0.5, rel=1e-3)
    last = float(cosine()[-1])
    assert gradient_factor("shrunk", last, 0.25) < 1e-3
    assert gradient_factor("naive", last, 0.25) > 1e4
    assert gradient_factor("exact", last, 0.25) == 1


def one_step(guidance: InformationGuidance, alpha_bar: float = 0.6) -> tuple[Tensor, Step]:
    """The correction at one step, and what it saw."""
    draws = torch.Generator().manual_seed(3)
    x0h, eps = torch.randn(2, 6, *SHAPE, generator=draws)
    step = Step(
        index=0,
        count=2,
        t=400,
        alpha_bar=alpha_bar,
        x_t=alpha_bar**0.5 * x0h + (1 - alpha_bar) ** 0.5 * eps,
        x0h=x0h,
        eps=eps,
        labels=torch.arange(6) % 3,
        places=torch.arange(6) // 3,
        posterior_std=0.0,
        x0_weight=1.0,
    )
    with torch.enable_grad():
        corrected = guidance(step)
    assert isinstance(corrected, Tensor)
    return corrected, step


@pytest.mark.parametrize("kind", ["shrunk", "naive"])
def test_a_step_never_lowers_the_reward_to_first_order(kind: GradientPath) -> None:
    guidance = hook(gradient=kind, scale=0.01)
    corrected, step = one_step(guidance)
    x0h = step.x0h.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(guidance.reward(x0h, step.labels), x0h)
    assert float((gradient * (corrected - step.x0h)).sum()) > 0


class Mixture:
    """The exact denoiser of an equal mixture of Gaussians at +m and -m, of variance v, in double
    precision."""

    mean, variance = torch.tensor([1.0, -0.5, 0.7, 0.2], dtype=torch.float64).view(1, *SHAPE), 0.1

    def x0h(self, x_t: Tensor, ab: float) -> Tensor:
        """The posterior mean of x_0."""
        spread = ab * self.variance + 1 - ab
        sure = torch.tanh(ab**0.5 * (x_t * self.mean).sum((1, 2, 3), keepdim=True) / spread)
        return (ab**0.5 * self.variance * x_t + (1 - ab) * self.mean * sure) / spread


@pytest.mark.parametrize("ab", [0.02, 0.3, 0.6, 0.95])
def test_nor_does_one_through_the_denoiser_of_a_mixture_whose_jacobian_is_a_covariance(ab: float) -> None:
    guidance, prior = hook(gradient="exact", scale=0.01), Mixture()
    x_t = torch.randn(
        40, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    ).requires_grad_()
    x0h = prior.x0h(x_t, ab)
    step = Step(
        index=0,
        count=2,
        t=400,
        alpha_bar=ab,
        x_t=x_t,
        x0h=x0h,
        eps=(x_t - ab**0.5 * x0h) / (1 - ab) ** 0.5,
        labels=torch.arange(40) % 3,
        places=torch.arange(40) // 3,
        posterior_std=0.0,
        x0_weight=1.0,
    )
    corrected = guidance(step)
    assert isinstance(corrected, Tensor)
    seen = x0h.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(guidance.reward(seen, step.labels), seen)
    gained = (gradient * (corrected - x0h).detach()).sum((1, 2, 3))
    assert (gained >= -1e-9 * gradient.flatten(1).norm(dim=1)).all() and gained.sum() > 0
    jacobian = torch.autograd.functional.jacobian(
        lambda x: prior.x0h(x, ab).flatten(), x_t[:1].detach()
    ).view(4, 4)
    assert torch.linalg.eigvalsh((jacobian + jacobian.T) / 2).min() > 0  # what the law rests on


@pytest.mark.parametrize("kind", list(get_args(GradientPath)))
@pytest.mark.parametrize("scale", [0.1, 3.0, 1000.0])
def test_the_correction_of_eps_never_leaves_its_trust_region(kind: GradientPath, scale: float) -> None:
    ratios: list[Tensor] = []

    class Watch(InformationGuidance):
        def __call__(self, step: Step) -> Tensor:
            corrected = super().__call__(step)
            assert isinstance(corrected, Tensor)
            delta = (step.x0h - corrected).detach() * (step.alpha_bar / (1 - step.alpha_bar)) ** 0.5
            ratios.append(delta.flatten(1).norm(dim=1) / step.eps.detach().flatten(1).norm(dim=1))
            return corrected

    base = hook(gradient=kind, scale=scale, trust=0.2)
    draw(Watch(base.form, base.predict, base.prior, base.real_KS, base.variance))
    found = torch.stack(ratios)
    assert len(found) == 20
    assert (found <= 0.2 + 1e-4).all()
    assert scale < 1000 or (found > 0.199).any()


def test_a_correction_inside_its_trust_region_is_left_as_it_is() -> None:
    bounded, free = (one_step(hook(scale=0.01, trust=trust))[0] for trust in (0.2, 0.0))
    assert torch.equal(bounded, free)


def test_the_centroid_is_the_mean_of_finished_and_present_predictions() -> None:
    guidance = hook(beta=1.0, likelihood=0.0)
    draws = torch.Generator().manual_seed(8)
    done, here = torch.rand(4, *SHAPE, generator=draws), torch.rand(3, *SHAPE, generator=draws)
    zeros = torch.zeros(7, dtype=torch.long)
    guidance.finished(done, zeros[:4])
    q = classifier(torch.cat([done, here])).softmax(1)
    wanted = (q[4:] * (q[4:] / q.mean(0)).log()).sum()
    assert float(guidance.reward(here, zeros[:3])) == pytest.approx(float(wanted), abs=1e-6)
    assert wanted > 1e-3


def test_a_gradient_that_is_not_finite_is_left_out_and_counted() -> None:
    def broken(x: Tensor) -> Tensor:
        return classifier(x) * torch.where(x.flatten(1)[:, :1] > 0, torch.nan, 1.0)

    guidance = hook(broken)
    corrected, step = one_step(guidance)
    bad = step.x0h.flatten(1)[:, 0] > 0
    assert 0 < int(bad.sum()) < 6
    assert torch.equal(corrected[bad], step.x0h[bad])
    assert int(guidance.skipped) >= int(bad.sum())


def test_chunks_see_the_predictions_of_what_was_finished_before() -> None:
    guidance = hook(beta=1.0)
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(9)).clamp(-1, 1)
    guidance.finished(images, torch.tensor([0, 0, 0, 2]))
    q = classifier(images).softmax(1)
    assert torch.allclose(guidance.sums_KS[0], q[:3].sum(0))
    assert guidance.counts_K.tolist() == [3, 0, 1]
    alone = hook(beta=1.0)
    assert not torch.equal(one_step(guidance)[0][0], one_step(alone)[0][0])
    assert torch.equal(one_step(guidance)[0][1], one_step(alone)[0][1])  # class 1 has nothing behind it


@pytest.mark.parametrize("count", [1, 10, 50])
def test_the_released_normalisation_makes_context_grow_with_the_images_of_a_class(count: int) -> None:
    def ratio(normalisation: Normalisation) -> tuple[float, float]:
        guidance = hook(beta=0.5, likelihood=0.25, normalisation=normalisation, per_class=count)
        of_label, of_context = guidance._weights(128)
        return 0.5 * of_context / (0.25 * of_label), of_label

    assert ratio("authors")[0] == pytest.approx(2 * count / 128, rel=1e-12)
    assert ratio("mean")[0] == ratio("sum")[0] == 2
    assert ratio("authors")[1] == ratio("mean")[1] == 1 / count  # twice the images halve the force on each


@pytest.mark.parametrize("index", [0, 400, 998])
def test_a_raw_shift_is_a_correction_of_the_score_that_grows_towards_the_image(index: int) -> None:
    prior = gaussian_prior([0.0, 0.3, -0.3], 0.25, SHAPE, linear_bars())
    times = list(range(999, -1, -1))
    moments = ancestral_step(prior, GeneratorConfig(sampler=Sampler.ddpm), times, index, None)
    now, after = (prior.alpha_bars_list[times[i]] for i in (index, index + 1))
    alpha, size = now / after, 0.7
    raw = hook(beta=0.0, at_noise=True, raw=True, scale=size, prior=prior)
    score = hook(beta=0.0, at_noise=True, scale=size * alpha**0.5 / (1 - alpha), prior=prior)
    corrected, step = one_step(score, now)
    with torch.enable_grad():
        shift = raw(step)
    assert isinstance(shift, Shift)
    mean = moments.x0_weight * (corrected - step.x0h)
    torch.testing.assert_close(mean, shift.by, rtol=2e-3, atol=1e-6)  # 1 - alpha in float32


@pytest.mark.parametrize("step", [{"raw": True}, {}])
def test_the_reward_rises_and_with_the_sign_as_released_it_falls(step: dict[str, Any]) -> None:
    def likelihood(scale: float) -> float:
        images = draw(hook(beta=0.0, at_noise=True, scale=scale, **step), count=60)
        return float(classifier(images).log_softmax(1).gather(1, (torch.arange(60) % 3)[:, None]).mean())

    assert likelihood(0.1) > likelihood(0.0) > likelihood(-0.1)


@pytest.mark.parametrize("beta", [-0.5, 2.0])
def test_one_image_of_a_class_has_no_context_whatever_its_weight(beta: float) -> None:
    assert torch.equal(draw(hook(beta=beta), count=3), draw(hook(beta=0.0), count=3))
    assert not torch.equal(draw(hook(beta=beta), count=6), draw(hook(beta=0.0), count=6))


def test_symbols_are_read_in_the_same_pass_and_have_more_room_than_labels() -> None:
    """Their centroids are (K, S), and the context's weight acts through them alone."""
    asked: list[int] = []

    def predict(x: Tensor) -> Predictions:
        asked.append(1)
        return Predictions(classifier(x), torch.cat([x.flatten(1), -x.flatten(1)], dim=1))

    form = GuidanceForm(scale=1.0, beta=1.0, trust=0.0, symbols=True, symbol_temperature=0.3)
    prior = gaussian_prior([0.0, 0.3, -0.3], 0.25, SHAPE, linear_bars())
    guidance = InformationGuidance(form, predict, prior, torch.full((3, 8), 1 / 8), 0.25)
    assert not torch.equal(draw(guidance), draw(hook(beta=1.0)))
    assert len(asked) == 20
    guidance.finished(torch.zeros(4, *SHAPE), torch.tensor([0, 0, 2, 1]))
    torch.testing.assert_close(guidance.sums_KS.sum(1), torch.tensor([2.0, 1.0, 1.0]))
