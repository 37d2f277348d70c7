"""The generator that a run asks for: trained here, or read from a file; and such files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from distill_bench.errors import UserError, require
from distill_bench.files import Damaged, load_tensors, save_tensors
from distill_bench.generative.latent.build import build_generator
from distill_bench.generative.latent.generator import GeneratorShape, LatentGenerator
from distill_bench.generative.latent.pretrain import pretrained

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import GeneratorConfig
    from distill_bench.running import Run

__all__ = ["load_latent", "read_latent", "save_latent"]

KINDS = ("cvae", "cgan", "biggan")
ABOUT = {"content": "latent generator"}


def load_latent(run: Run, data: ImageDataset, config: GeneratorConfig) -> LatentGenerator:
    """The generator that `config` names, on the run's device, frozen and in evaluation mode.

    From `generator.path` if it is given, else trained on the training set of `data` and cached. UserError
    for a kind that has no latent vector, and for a file that is missing, damaged, or made for other images.
    """
    if config.kind.value not in KINDS:
        allowed = "generator=cvae, small_cgan, biggan or checkpoint"
        raise UserError(
            f"generator.kind={config.kind.name}: this method needs a latent vector; allowed: {allowed}"
        )
    require(
        bool(config.path) or config.name != "checkpoint", "generator.path", config.path or "(empty)", "a file"
    )
    generator = read_latent(Path(config.path).expanduser()) if config.path else pretrained(run, data, config)
    if config.path:
        _check(generator.shape, data, config)
    return generator.to(run.device).eval().requires_grad_(False)


def save_latent(path: Path, generator: LatentGenerator) -> None:
    """Write weights and shape as one safetensors file, which `read_latent` needs nothing else to read."""
    tree = {"shape": asdict(generator.shape), "weights": generator.state_dict()}
    save_tensors(path, tree, ABOUT)


def read_latent(path: Path) -> LatentGenerator:
    """The generator of such a file, on the CPU. UserError for a file that is missing, damaged or not one."""
    try:
        tree = load_tensors(path, ABOUT)
        generator = build_generator(GeneratorShape(**tree["shape"]))
        generator.load_state_dict(tree["weights"])
    except FileNotFoundError:
        raise UserError(f"generator.path={path}: there is no such file") from None
    except (Damaged, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"generator.path={path}: not a whole generator of this program ({reason})") from None
    return generator


def _check(shape: GeneratorShape, data: ImageDataset, config: GeneratorConfig) -> None:
    """UserError unless a file's generator is of the kind asked for and draws images like the run's."""
    expected = GeneratorShape(
        kind=config.kind.value,
        noise=shape.noise,
        width=shape.width,
        num_classes=data.num_classes,
        channels=data.channels,
        resolution=data.resolution,
    )
    if shape != expected:
        raise UserError(f"generator.path={config.path}: holds {shape}; this run needs {expected}")
