"""A pretrained diffusion transformer (DiT, Peebles and Xie, ICCV 2023) from a directory of diffusers.

The directory holds `transformer/`, `vae/` and `scheduler/`. Facts about diffusers' classes that matter here:
the pipeline writes the null class as the number 1000, whatever K is, so the loop is ours; its DiT draws
labels dropped in training once per block (see `one_label_drop`); it discards the learned variance, which the
published samplers use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel
from torch import Tensor, nn

from distill_bench.data.sources import IMAGENETTE, IMAGEWOOF
from distill_bench.errors import UserError
from distill_bench.generative.networks import one_label_drop
from distill_bench.generative.prior import Prior
from distill_bench.generative.process import STEPS, Prediction

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import GeneratorConfig

__all__ = ["Autoencoder", "imagenet_ids", "load_dit"]

PARTS = ("transformer", "vae", "scheduler")
HUB = "facebook/DiT-XL-2-256"


class Autoencoder:
    """The KL autoencoder between images in [-1, 1] of the data set's size and scaled latents;
    differentiable."""

    def __init__(self, vae: AutoencoderKL, pixels: int) -> None:
        self.vae, self.pixels = vae, pixels
        self.scale = float(vae.config.scaling_factor)

    def encode(self, images: Tensor, draws: torch.Generator | None = None) -> Tensor:
        """Latents (B, 4, h, w): the posterior's mean, or a sample of it with `draws`."""
        sized = F.interpolate(images, size=(self.pixels, self.pixels), mode="bilinear", antialias=True)
        posterior = self.vae.encode(sized).latent_dist
        return self.scale * (posterior.mean if draws is None else posterior.sample(draws))

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, pixels, pixels), about in [-1, 1]."""
        return self.vae.decode(latents / self.scale).sample


def load_dit(data: ImageDataset, config: GeneratorConfig, device: torch.device) -> Prior:
    """The DiT in `generator.path` (or, if that is empty, in the hub's cache), with its ids of the classes of
    `data`.

    UserError, one line, for a directory without its parts, another forward process than a known one, or class
    counts that cannot be mapped.
    """
    folder = Path(config.path).expanduser() if config.path else _from_hub()
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise UserError(
            f"generator.path={folder}: no {', '.join(f'{part}/' for part in missing)} there; a DiT has all"
        )
    transformer = _read(DiTTransformer2DModel, folder, "transformer")
    vae, scheduler = _read(AutoencoderKL, folder, "vae"), _read(DDPMScheduler, folder, "scheduler")
    if vae.config.out_channels != data.channels:
        own = f"images of {vae.config.out_channels} channels; dataset={data.name} has {data.channels}"
        raise UserError(f"generator.path={folder}: its autoencoder makes {own}")
    one_label_drop(transformer)
    ids = _label_ids(transformer.config.num_embeds_ada_norm, data.class_names, folder)
    channels, side = transformer.config.in_channels, transformer.config.sample_size
    pixels = side * 2 ** (len(vae.config.block_out_channels) - 1)
    if len(scheduler.alphas_cumprod) != STEPS or scheduler.config.prediction_type != "epsilon":
        raise UserError(
            f"generator.path={folder}: a scheduler of {STEPS} steps that predicts epsilon is needed"
        )
    frozen = [part.to(device).eval().requires_grad_(False) for part in (transformer, vae)]
    return Prior(
        network=_Transformer(frozen[0]),
        shape=(channels, side, side),
        alpha_bars=scheduler.alphas_cumprod.to(device),
        label_ids=torch.tensor(ids, device=device),
        prediction=Prediction.epsilon,
        cfg_channels=config.cfg_channels,
        learned_variance=transformer.config.out_channels == 2 * channels,
        autoencoder=Autoencoder(frozen[1], pixels),
    )


class _Transformer(nn.Module):
    """diffusers' DiT behind our face."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """The prediction, followed by the learned variance's channels if there are any."""
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=x_t.device.type == "cuda"):
            return self.transformer(x_t, timestep=t, class_labels=labels, return_dict=False)[0]


def imagenet_ids(class_names: list[str]) -> list[int] | None:
    """The classes' places among the 1000 of ImageNet, if all are known by their wnids; else None."""
    from timm.data import ImageNetInfo

    wnids = {name: wnid for subset in (IMAGENETTE, IMAGEWOOF) for wnid, name in subset.items()}
    place = {wnid: i for i, wnid in enumerate(ImageNetInfo("imagenet-1k").label_names())}
    names = [wnids.get(name, name) for name in class_names]
    return [place[wnid] for wnid in names] if all(wnid in place for wnid in names) else None


def _label_ids(there: int, class_names: list[str], folder: Path) -> list[int]:
    """The network's id for each class, then its null id."""
    ids = imagenet_ids(class_names) if there == 1000 else None
    if ids is None and there == len(class_names):
        ids = list(range(there))
    if ids is None:
        allowed = "as many, or ImageNet's 1000 for wnids"
        reason = f"has {there} classes, the data set {len(class_names)}; allowed: {allowed}"
        raise UserError(f"generator.path={folder}: its transformer {reason}")
    return [*ids, there]


def _read(kind: Any, folder: Path, part: str) -> Any:
    try:
        return kind.from_pretrained(folder, subfolder=part, local_files_only=True)
    except Exception as error:  # a wrong value of a config is an error of any kind in the part's own code
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"generator.path={folder}/{part}: not whole, or of another kind ({reason})") from None


def _from_hub() -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(HUB, allow_patterns=[f"{part}/*" for part in PARTS]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = f"{HUB} is neither cached nor reachable ({type(error).__name__})"
        raise UserError(
            f"generator.path: {reason}; give the directory with transformer/, vae/ and scheduler/"
        ) from None
