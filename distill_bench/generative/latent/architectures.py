"""Sizes and optimisers of the generators that are trained here."""

from __future__ import annotations

from dataclasses import dataclass

from distill_bench.errors import UserError, closest, require
from distill_bench.generative.latent.cvae import SMALLEST_CONVOLVED

__all__ = ["ARCHITECTURES", "LatentArchitecture", "architecture_for"]


@dataclass(frozen=True, kw_only=True)
class LatentArchitecture:
    """A network's size and its training."""

    kind: str
    noise: int  # values of the latent vector
    width: int
    batch_size: int
    lr: float  # peak rate of Adam for the generator
    lr_discriminator: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    discriminator_steps: int = 0  # for each step of the generator
    noise_variance: float = 1.0  # of pixels given the latent vector, of a VAE


ARCHITECTURES: dict[str, LatentArchitecture] = {
    # conditional VAEs: our choice, for a CPU; the noise variance is what gave the clearest classes of those
    # tried
    "cvae_mlp": LatentArchitecture(
        kind="cvae", noise=16, width=128, batch_size=128, lr=2e-3, noise_variance=0.3
    ),
    "cvae_conv": LatentArchitecture(
        kind="cvae", noise=64, width=32, batch_size=128, lr=2e-3, noise_variance=8.0
    ),
    # small GAN: our choice
    "cgan": LatentArchitecture(
        kind="cgan",
        noise=100,
        width=64,
        batch_size=64,
        lr=2e-4,
        lr_discriminator=2e-4,
        betas=(0.0, 0.999),
        discriminator_steps=1,
    ),
    # BigGAN as recalled: four discriminator steps on CIFAR, two above; batches are smaller than the paper's
    "biggan_32": LatentArchitecture(
        kind="biggan",
        noise=128,
        width=64,
        batch_size=64,
        lr=2e-4,
        lr_discriminator=2e-4,
        betas=(0.0, 0.999),
        discriminator_steps=4,
    ),
    "biggan_64": LatentArchitecture(
        kind="biggan",
        noise=120,
        width=64,
        batch_size=64,
        lr=1e-4,
        lr_discriminator=4e-4,
        betas=(0.0, 0.999),
        discriminator_steps=2,
    ),
    "biggan_128": LatentArchitecture(
        kind="biggan",
        noise=120,
        width=96,
        batch_size=64,
        lr=5e-5,
        lr_discriminator=2e-4,
        betas=(0.0, 0.999),
        discriminator_steps=2,
    ),
}


def architecture_for(name: str, kind: str, resolution: int) -> LatentArchitecture:
    """The architecture `name`, or for "auto" the one of `kind` for this size.

    UserError for one of another kind, for a generator that has no latent variables, and for a size that
    BigGAN has not.
    """
    kinds = sorted({architecture.kind for architecture in ARCHITECTURES.values()})
    allowed = "one that is distilled into: generator=cvae, small_cgan, biggan or checkpoint"
    require(kind in kinds, "generator.kind", kind, allowed)
    if kind == "biggan" and name == "auto":
        require(
            resolution in (32, 64, 128),
            "dataset.resolution",
            resolution,
            "32, 64 or 128 for generator=biggan",
        )
    if name == "auto":
        name = {
            "cvae": "cvae_mlp" if resolution < SMALLEST_CONVOLVED else "cvae_conv",
            "cgan": "cgan",
            "biggan": f"biggan_{resolution}",
        }[kind]
    names = [key for key, architecture in ARCHITECTURES.items() if architecture.kind == kind]
    if name not in names:
        raise UserError(
            f"generator.architecture={name}: none of generator.kind={kind}; {closest(name, names)}"
        )
    return ARCHITECTURES[name]
