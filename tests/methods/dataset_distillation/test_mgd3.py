"""MGD3 as a method: without its pull it is plain sampling, with it each image is nearest to its own mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distill_bench.catalogue import method_module
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.methods.dataset_distillation import mgd3
from tests.generative.rooms import modes_of, prior_of
from tests.generative.test_dit import save_dit

MakeContext = Callable[..., Context]
ROUGH = ["dataset=digits", "ipc=5", "generator.train_steps=300", "generator.sampling_steps=10"]


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize(
    "config", [mgd3.Config(mode_scale=0.0), mgd3.Config(stop=1.0)], ids=["no pull", "no step"]
)
def test_without_its_pull_it_is_plain_sampling_bit_for_bit(
    context: MakeContext, sampler: str, config: mgd3.Config
) -> None:
    words = ["dataset=digits", "ipc=2", "profile=smoke", f"generator.sampler={sampler}"]
    plain = method_module("diffusion").run(
        context("method=diffusion", *words), method_module("diffusion").Config()
    )
    assert torch.equal(mgd3.run(context("method=mgd3", *words), config).images, plain.images)


def test_the_pull_draws_images_nearer_to_modes_of_their_own(context: MakeContext) -> None:
    def shares(scale: float, stop: float) -> tuple[float, float]:
        """Mean distance of an image to its mode, and the share of images whose nearest mode of the class is
        theirs."""
        ctx = context("method=mgd3", *ROUGH, f"method.mode_scale={scale}", f"method.stop={stop}")
        made = mgd3.run(ctx, mgd3.Config(mode_scale=scale, stop=stop))
        modes = modes_of(ctx, prior_of(ctx)).flatten(2)
        images = (made.pixels() * 2 - 1).unflatten(0, (10, 5)).flatten(2)
        away = torch.cdist(images, modes)
        own = away.diagonal(dim1=1, dim2=2)
        return float(own.mean()), float((away.argmin(2) == torch.arange(5)).float().mean())

    plain, published, strong = shares(0.0, 0.5), shares(0.1, 0.5), shares(0.3, 0.0)
    assert strong[0] + 0.5 < published[0] < plain[0]
    assert plain[1] < 0.4  # one in five, by chance
    assert strong[1] > plain[1] + 0.3


def test_modes_of_latents_guide_a_latent_prior(context: MakeContext, tmp_path: Path) -> None:
    folder = save_dit(tmp_path / "dit", 10, channels=1)
    words = ["generator=dit_xl2_256", f"generator.path={folder}", "generator.sampling_steps=4"]
    ctx = context("method=mgd3", "dataset=digits", "ipc=2", *words)
    assert len(mgd3.run(ctx, mgd3.Config())) == 20
    assert modes_of(ctx, prior_of(ctx)).shape == (10, 2, 4, 8, 8)


def test_a_wrong_setting_is_one_line() -> None:
    with pytest.raises(UserError, match=r"method.mode_scale=2: must be in \[0, 1\]"):
        mgd3.Config(mode_scale=2)
    with pytest.raises(UserError, match=r"method.stop=1.5"):
        mgd3.Config(stop=1.5)
