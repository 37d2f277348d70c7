"""A pretrained diffusion transformer read from a directory, on a tiny one made here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel

from distill_bench.context import Context
from distill_bench.data.sources import IMAGEWOOF
from distill_bench.errors import UserError
from distill_bench.generative.dit import imagenet_ids
from tests.generative.rooms import drawn_of, prior_of

MakeContext = Callable[..., Context]


def save_dit(folder: Path, classes: int, channels: int = 3) -> Path:
    """A DiT of 64 tokens with learned variance and its autoencoder of 16-pixel images, random and small."""
    torch.manual_seed(0)
    DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=classes,
    ).save_pretrained(folder / "transformer")
    AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 8),
        latent_channels=4,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    ).save_pretrained(folder / "vae")
    DDPMScheduler(1000, beta_schedule="linear").save_pretrained(folder / "scheduler")
    return folder


def words(folder: Path) -> list[str]:
    """A run on digits with that DiT."""
    small = ["generator.sampling_steps=3", "generator.cfg=4", f"generator.path={folder}"]
    return ["method=diffusion", "dataset=digits", "ipc=1", "generator=dit_xl2_256", *small]


@pytest.mark.parametrize("variance", ["fixed_small", "learned_range"])
def test_latents_are_drawn_guided_and_decoded_to_the_data_sets_size(
    context: MakeContext, tmp_path: Path, variance: str
) -> None:
    ctx = context(*words(save_dit(tmp_path / "dit", 10, channels=1)), f"generator.variance={variance}")
    prior = prior_of(ctx)
    assert prior.latent and prior.learned_variance
    assert prior.shape == (4, 8, 8)
    assert prior.label_ids.tolist() == list(range(11))
    made = drawn_of(ctx, prior)
    assert made.images.shape == (10, 1, 8, 8)
    assert len(made.images.unique()) > 1


def test_both_branches_are_guided_by_the_scale_of_the_autoencoder(
    context: MakeContext, tmp_path: Path
) -> None:
    prior = prior_of(context(*words(save_dit(tmp_path / "dit", 10, channels=1))))
    images = torch.rand(2, 1, 16, 16) * 2 - 1
    latents = prior.from_pixels(images)
    assert latents.shape == (2, 4, 8, 8)
    assert prior.to_pixels(latents).shape == (2, 1, 16, 16)
    vae = prior.autoencoder.vae
    assert torch.allclose(latents, vae.encode(images).latent_dist.mean * vae.config.scaling_factor)


def test_imagenets_classes_are_known_by_their_wordnet_ids() -> None:
    assert imagenet_ids(["n01440764", "n01484850"]) == [0, 2]
    assert imagenet_ids(["cat", "dog"]) is None
    woof = imagenet_ids(list(IMAGEWOOF.values()))
    assert woof is not None
    assert woof[0] == 155  # Shih-Tzu
    assert woof == imagenet_ids(list(IMAGEWOOF))


def test_a_directory_without_its_parts_or_with_other_classes_is_one_line(
    context: MakeContext, tmp_path: Path
) -> None:
    folder = save_dit(tmp_path / "dit", 12, channels=1)
    ctx = context(*words(folder))

    def refusal() -> str:
        with pytest.raises(UserError) as caught:
            prior_of(ctx)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "has 12 classes, the data set 10" in refusal()
    config = folder / "transformer" / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"num_layers": 2', '"num_layers": "two"'))
    assert "transformer: not whole" in refusal()
    config.write_text(whole)
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "vae: not whole" in refusal()
    shutil.rmtree(folder / "vae")
    assert "no vae/ there" in refusal()
    shutil.rmtree(folder)
    assert "no transformer/, vae/, scheduler/ there" in refusal()
    save_dit(folder, 10)
    assert "its autoencoder makes images of 3 channels; dataset=digits has 1" in refusal()
