"""`generator=`: what draws images of a class."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from distill_bench.errors import require
from distill_bench.groups.group import Group

__all__ = ["GeneratorConfig", "GeneratorKind", "Sampler", "Timesteps", "Variance"]


class GeneratorKind(Enum):
    """What draws images of a class."""

    diffusion = "diffusion"  # a small class-conditional diffusion model of pixels, trained here and cached
    dit = "dit"  # a pretrained diffusion transformer, in the latent space of its autoencoder
    cvae = "cvae"  # the decoder of a conditional variational autoencoder
    cgan = "cgan"  # a small conditional GAN
    biggan = "biggan"  # BigGAN's residual generator


class Sampler(Enum):
    """How a diffusion model's reverse process is solved (by diffusers)."""

    ddim = "ddim"  # deterministic
    ddpm = "ddpm"  # ancestral, with the posterior's noise
    dpm_solver = "dpm_solver"  # DPM-Solver++(2M), deterministic


class Timesteps(Enum):
    """The times of an ancestral chain."""

    trailing = "trailing"  # evenly spaced below T, the first T - 1: diffusers' word
    published = (
        "published"  # evenly spread from T - 1 to 0 and rounded: the code of improved diffusion and DiT
    )


class Variance(Enum):
    """The variance of an ancestral step."""

    fixed_small = "fixed_small"  # of the posterior given x0
    fixed_large = "fixed_large"  # beta_t, that of the forward step
    learned_range = "learned_range"  # between that and beta_t, as the network says (DiT)


@dataclass(kw_only=True)
class GeneratorConfig(Group):
    """the class-conditional generator that generative methods sample, guide, tune or distil into."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"path", "sampling_batch"})

    name: str = "trained"
    kind: GeneratorKind = GeneratorKind.diffusion
    architecture: str = "auto"  # network and training of a model trained here; auto: by the images' size
    path: str = ""  # weights made elsewhere: a directory (dit) or a .safetensors file; empty: trained here
    train_steps: int = 200_000  # optimisation steps at most (an architecture has its own number)
    train_seconds: float = 3600.0  # training time at most; the rate is annealed to 0 whichever ends it
    width: int = 1024  # channels (of the finest level) at most (an architecture has its own number)
    batch_size: int = 4096  # training images a step at most (an architecture has its own number)
    lr: float = 0.0  # peak learning rate, 0: the architecture's
    label_drop: float = 0.1  # share of training labels replaced by the null class
    min_snr: float = 5.0  # gamma of the Min-SNR loss weight, > 0
    sampler: Sampler = Sampler.ddim  # ddim | ddpm | dpm_solver
    sampling_steps: int = 50  # steps of the reverse process
    timesteps: Timesteps = Timesteps.trailing  # of an ancestral chain
    cfg: float = 1.5  # weight w of classifier-free guidance: 1 conditional, 0 unconditional
    cfg_channels: int = 0  # leading channels that guidance acts on, 0: all (published DiT code: 3 of 4)
    variance: Variance = Variance.fixed_small  # of an ancestral step
    sampling_batch: int = 64  # images drawn together: speed and memory only, never results

    def __post_init__(self) -> None:
        for key in ("train_steps", "width", "batch_size", "sampling_steps", "sampling_batch"):
            require(getattr(self, key) >= 1, f"generator.{key}", getattr(self, key), ">= 1")
        for key in ("lr", "cfg_channels"):
            require(getattr(self, key) >= 0, f"generator.{key}", getattr(self, key), ">= 0")
        require(0 <= self.cfg <= 1000, "generator.cfg", self.cfg, "from 0 to 1000")
        require(self.train_seconds > 0, "generator.train_seconds", self.train_seconds, "> 0")
        require(0 <= self.label_drop < 1, "generator.label_drop", self.label_drop, "in [0, 1)")
        require(self.min_snr > 0, "generator.min_snr", self.min_snr, "> 0")
        require(self.sampling_steps <= 1000, "generator.sampling_steps", self.sampling_steps, "at most 1000")

    def unused(self) -> frozenset[str]:
        """The deterministic solvers have times of their own."""
        return frozenset() if self.sampler is Sampler.ddpm else frozenset({"timesteps"})

    def idle(self) -> frozenset[str]:
        """Trailing times were the only ones; a learned variance had noise in the last step then."""
        before = self.timesteps is Timesteps.trailing and self.variance is not Variance.learned_range
        return frozenset({"timesteps"}) if before else frozenset()

    def inputs(self) -> dict[str, str]:
        """The weights made elsewhere."""
        return {"path": self.path} if self.path else {}
