"""Modes of a class by k-means, and a pull that is exact where the prior is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.generative import modes as modes_module
from distill_bench.generative.modes import ModeGuidance, cluster_means
from distill_bench.generative.sampling import Step, reverse
from distill_bench.groups import GeneratorConfig, Sampler
from distill_bench.interrupt import Interrupted
from tests.generative.analytic import gaussian_prior
from tests.generative.rooms import modes_of, prior_of

MakeContext = Callable[..., Context]
BOTH = pytest.mark.parametrize("sampler", [Sampler.ddim, Sampler.ddpm])
MODES = torch.tensor([[[2.0]] * 4, [[-1.5]] * 4]).view(2, 4, 1, 1, 1)


def drawn(hook: ModeGuidance | None, sampler: Sampler = Sampler.ddim) -> Tensor:
    """Four images of each of two classes."""
    config = GeneratorConfig(cfg=1.0, sampler=sampler, sampling_steps=20)
    draws = [torch.Generator().manual_seed(i) for i in range(8)]
    prior = gaussian_prior([0.7, -0.4], 0.25)
    return reverse(prior, torch.arange(8) // 4, torch.arange(8) % 4, draws, config, hook)


def step_at(index: int, count: int = 50, std: float | torch.Tensor = 0.0, weight: float = 1.0) -> Step:
    zeros = torch.zeros(2, 1, 1, 1)
    return Step(
        index=index,
        count=count,
        t=0,
        alpha_bar=0.5,
        x_t=zeros,
        x0h=zeros,
        eps=zeros,
        labels=torch.tensor([0, 1]),
        places=torch.tensor([3, 2]),
        posterior_std=std,
        x0_weight=weight,
    )


@BOTH
@pytest.mark.parametrize(
    ("scale", "stop"), [(0.0, 0.5), (0.3, 1.0)], ids=["no pull", "stopped before it starts"]
)
def test_no_pull_is_plain_sampling_bit_for_bit(sampler: Sampler, scale: float, stop: float) -> None:
    assert torch.equal(drawn(ModeGuidance(MODES, scale, stop), sampler), drawn(None, sampler))


@BOTH
def test_the_distance_to_the_mode_falls_with_the_pull(sampler: Sampler) -> None:
    targets = MODES.flatten(0, 1)
    distances = [
        float((drawn(ModeGuidance(MODES, scale, 0.0), sampler) - targets).abs().mean())
        for scale in (0.0, 0.05, 0.1, 0.2, 0.35, 0.5)
    ]
    assert all(later < earlier for earlier, later in pairwise(distances))


def test_a_whole_pull_puts_the_mode_in_the_place_of_the_prediction() -> None:
    pulled = ModeGuidance(MODES, 1.0, 0.5)(step_at(0))
    assert pulled is not None and pulled.flatten().tolist() == [2.0, -1.5]


def test_the_published_stop_pulls_in_the_steps_with_more_than_25_of_50_left() -> None:
    guidance = ModeGuidance(MODES, 0.1, 0.5)
    pulled = [index for index in range(50) if guidance(step_at(index)) is not None]
    assert pulled == list(range(24))  # 49 .. 26 remain after these steps


def test_an_ancestral_step_moves_its_mean_by_the_noise_times_the_distance() -> None:
    moved = ModeGuidance(MODES, 0.1, 0.5)(step_at(0, std=0.3, weight=0.06))
    assert moved is not None
    assert torch.allclose(0.06 * moved.flatten(), 0.1 * 0.3 * torch.tensor([2.0, -1.5]))


def test_a_learned_noise_scales_the_pull_of_each_element() -> None:
    noise = torch.tensor([0.3, 0.1]).view(2, 1, 1, 1)
    moved = ModeGuidance(MODES, 0.1, 0.5)(step_at(0, std=noise, weight=0.06))
    assert moved is not None
    assert torch.allclose(0.06 * moved.flatten(), 0.1 * torch.tensor([0.3 * 2.0, 0.1 * -1.5]))


def test_clusters_that_are_far_apart_have_their_means_as_modes() -> None:
    draws = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    points = (centres[:, None] + torch.randn(3, 50, 2, generator=draws)).flatten(0, 1)
    found = cluster_means(points, 3, seed=1)
    means = points.view(3, 50, 2).mean(1)
    assert torch.allclose(found[torch.cdist(means, found).argmin(1)], means, atol=1e-5)


def test_modes_are_of_their_class_one_for_each_image_and_made_once(context: MakeContext) -> None:
    ctx = context("method=mgd3", "dataset=digits", "ipc=5", "profile=smoke")
    prior = prior_of(ctx)
    modes = modes_of(ctx, prior)
    assert modes.shape == (10, 5, 1, 8, 8)
    assert float(modes.min()) >= -1 and float(modes.max()) <= 1
    flat = modes.flatten(2)
    assert all(len(of_class.unique(dim=0)) == 5 for of_class in flat)
    data = ctx.dataset
    images = (data.train.unit(torch.arange(len(data.train))) * 2 - 1).flatten(1)
    nearest = torch.cdist(images, flat.flatten(0, 1)).argmin(1) // 5
    assert float((nearest == data.train.labels).float().mean()) > 0.9
    files = list((ctx.cache.root / "modes").glob("*.safetensors"))
    assert torch.equal(modes_of(ctx, prior), modes)
    assert list((ctx.cache.root / "modes").glob("*.safetensors")) == files


def test_the_only_mode_of_a_class_is_its_mean(context: MakeContext) -> None:
    ctx = context("method=mgd3", "dataset=digits", "ipc=1", "profile=smoke")
    data = ctx.dataset
    images = data.train.unit(torch.arange(len(data.train))) * 2 - 1
    means = torch.stack([images[data.train.labels == k].mean(0) for k in range(10)])
    assert torch.allclose(modes_of(ctx, prior_of(ctx))[:, 0], means, atol=1e-5)


def test_modes_of_another_count_in_the_same_run_do_not_go_on_from_the_first(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["method=mgd3", "dataset=digits", "ipc=1", "profile=smoke"]
    alone = context(*words)
    expected = modes_of(alone, prior_of(alone), 2)
    ctx = context(*words, "checkpoint_seconds=0")
    ctx.cache.root = ctx.folder / "another"
    prior, fitted = prior_of(ctx), list[int]()
    fit = modes_module.cluster_means

    def stopping(x_ND: Tensor, count: int, seed: int) -> Tensor:
        fitted.append(count)
        ctx.interrupt.requested = len(fitted) == 4
        return fit(x_ND, count, seed)

    monkeypatch.setattr(modes_module, "cluster_means", stopping)
    with pytest.raises(Interrupted):
        modes_of(ctx, prior, 1)
    ctx.interrupt.requested = False
    assert torch.equal(modes_of(ctx, prior, 2), expected)
    assert fitted.count(2) == 10
    modes_of(ctx, prior, 1)
    assert fitted.count(1) == 10  # the first goes on from its own checkpoint


def test_more_modes_than_images_is_one_line(context: MakeContext) -> None:
    ctx = context("method=mgd3", "dataset=digits", "profile=smoke", "ipc.images_per_class=5")
    with pytest.raises(UserError, match=r"ipc.images_per_class=5000: must be at most \d+: one mode an image"):
        modes_of(ctx, prior_of(ctx), 5000)
