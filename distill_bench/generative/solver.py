"""diffusers' solvers of the reverse process, and what an ancestral step adds: its times and its noise.

Legend: t one of the chain's times, s the next one, ab_t (`alpha_bars`) the share of the signal in x_t's
variance; past the last time ab_s = 1.
"""

from __future__ import annotations

from itertools import accumulate, repeat
from typing import Any, NamedTuple

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from distill_bench.generative.prior import Prior
from distill_bench.generative.process import STEPS, betas
from distill_bench.groups import GeneratorConfig, Sampler, Timesteps, Variance

__all__ = ["AncestralStep", "ancestral_step", "published_times", "solver"]


class AncestralStep(NamedTuple):
    """The law of x_s given x_t: its mean is linear in x0h and x_t."""

    std: float | Tensor  # of the noise: (B, C, H, W) where the network says it
    x0_weight: float  # of x0h in the mean


def solver(prior: Prior, config: GeneratorConfig) -> Any:
    """diffusers' solver of the reverse process that is given x0h.

    At trailing times, of which the first is T - 1; an ancestral one at `config.timesteps`.
    """
    common = {
        "num_train_timesteps": STEPS,
        "trained_betas": betas(prior.alpha_bars.cpu()).numpy(),
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    }
    if config.sampler is Sampler.dpm_solver:
        scheduler = DPMSolverMultistepScheduler(**common, final_sigmas_type="zero")
    elif config.sampler is Sampler.ddpm:
        kind = _variance(prior, config).name
        scheduler = DDPMScheduler(**common, clip_sample=False, variance_type=kind)
        if config.timesteps is Timesteps.published:
            scheduler.set_timesteps(timesteps=published_times(config.sampling_steps))
            return scheduler
    else:
        scheduler = DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(config.sampling_steps)
    return scheduler


def published_times(count: int) -> list[int]:
    """The times of an ancestral chain of `count` steps in the code of improved diffusion and of DiT.

    Evenly spread from 0 to T - 1, each rounded, both ends among them; high noise first: for 50 steps 999,
    979, 958, ..., 20, 0. One step is at 0.
    """
    stride = (STEPS - 1) / max(1, count - 1)
    return [round(time) for time in accumulate(repeat(stride, count - 1), initial=0.0)][::-1]


def ancestral_step(
    prior: Prior, config: GeneratorConfig, times: list[int], index: int, learned: Tensor | None
) -> AncestralStep:
    r"""The noise and the weight of x0h of the step from time t = `times[index]` to the next, s.

    .. math:: \beta = 1 - ab_t / ab_s, \quad \tilde\beta = \beta (1 - ab_s) / (1 - ab_t), \quad
        w = \sqrt{ab_s} \beta / (1 - ab_t)

    The variance is beta~ (`fixed_small`), beta (`fixed_large`), or between them as the network says
    (`learned_range`): log var = f log beta + (1 - f) log beta~, f = (`learned` + 1) / 2.

    The last step adds no noise to x0h, whatever the variance. What is told of it is as the code of improved
    diffusion has it, for hooks that scale a gradient by it: beta~ would be 0, and is that of the step before
    in place of beta (`fixed_large`) and of the lower end (`learned_range`); `fixed_small` has 0.
    """
    beta, posterior, weight = _moments(prior, times, index)
    kind, last = _variance(prior, config), index == len(times) - 1
    if kind is Variance.fixed_small:
        return AncestralStep(posterior**0.5, weight)
    lowest = _moments(prior, times, index - 1)[1] if last and index else posterior
    if kind is Variance.fixed_large:
        return AncestralStep((lowest if last else beta) ** 0.5, weight)
    assert learned is not None
    low, high = (torch.tensor(max(value, 1e-20)).log().to(learned) for value in (lowest, beta))
    return AncestralStep(torch.exp(0.5 * torch.lerp(low, high, (learned + 1) / 2)), weight)


def _moments(prior: Prior, times: list[int], index: int) -> tuple[float, float, float]:
    """(beta, beta~, weight of x0h) of the step from `times[index]` to the next one."""
    now = prior.alpha_bars_list[times[index]]
    after = prior.alpha_bars_list[times[index + 1]] if index + 1 < len(times) else 1.0
    beta = 1 - now / after
    return beta, beta * (1 - after) / (1 - now), after**0.5 * beta / (1 - now)


def _variance(prior: Prior, config: GeneratorConfig) -> Variance:
    """The variance of the chain: of a prior that has not learned it, the small one."""
    learned = config.variance is Variance.learned_range
    return Variance.fixed_small if learned and not prior.learned_variance else config.variance
