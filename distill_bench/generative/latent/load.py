"""The generator that a run asks for: trained here, or read from a file; and such files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from distill_bench.errors import UserError, require
from distill_bench.files import Damaged, load_tensors, save_tensors
from distill_bench.generative.latent.build import build_generator
from distill_bench.generative.latent.generator import LatentGenerator, Recipe
from distill_bench.generative.latent.pretrain import planned_recipe, pretrained, seconds_per_image

if TYPE_CHECKING:
    from distill_bench.contract import Context

__all__ = ["drawing_seconds", "load_latent", "read_latent", "save_latent"]

KINDS = ("cvae", "cgan", "biggan")
ABOUT = {"content": "latent generator"}


def load_latent(ctx: Context) -> LatentGenerator:
    """The generator of `ctx.generator_config`, on the device, frozen and in evaluation mode.

    From `generator.path` if it is given, else trained on the run's training set and cached. UserError for a
    kind that has no latent vector, and for a file that is missing, damaged, or made for other images.
    """
    config = ctx.generator_config
    if config.kind.value not in KINDS:
        allowed = "generator=cvae, small_cgan, biggan or checkpoint"
        raise UserError(
            f"generator.kind={config.kind.name}: this method needs a latent vector; allowed: {allowed}"
        )
    require(
        bool(config.path) or config.name != "checkpoint", "generator.path", config.path or "(empty)", "a file"
    )
    found = read_latent(Path(config.path)) if config.path else pretrained(ctx)
    if config.path:
        _check(found.recipe, ctx)
    return found.to(ctx.device).eval().requires_grad_(False)


def drawing_seconds(ctx: Context) -> float:
    """The time of one image drawn by such a generator, trained or not, on the run's device: measured now."""
    path = ctx.generator_config.path
    generator = read_latent(Path(path)) if path else build_generator(planned_recipe(ctx))
    return seconds_per_image(generator.to(ctx.device))


def save_latent(path: Path, generator: LatentGenerator) -> None:
    """Write weights and recipe as one safetensors file, which `read_latent` needs nothing else to read."""
    tree = {"recipe": asdict(generator.recipe), "weights": generator.state_dict()}
    save_tensors(path, tree, ABOUT)


def read_latent(path: Path) -> LatentGenerator:
    """The generator of such a file, on the CPU. UserError for a file that is missing, damaged or not one."""
    try:
        tree = load_tensors(path, ABOUT)
        found = build_generator(Recipe(**tree["recipe"]))
        found.load_state_dict(tree["weights"])
    except FileNotFoundError:
        raise UserError(f"generator.path={path}: there is no such file") from None
    except (Damaged, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"generator.path={path}: not a whole generator of this program ({reason})") from None
    return found


def _check(recipe: Recipe, ctx: Context) -> None:
    """UserError unless a file's generator is of the kind asked for and draws images like the run's."""
    data, config = ctx.dataset, ctx.generator_config
    wanted = Recipe(
        kind=config.kind.value,
        noise=recipe.noise,
        width=recipe.width,
        num_classes=data.num_classes,
        channels=data.channels,
        resolution=data.resolution,
    )
    if recipe != wanted:
        raise UserError(f"generator.path={config.path}: holds {recipe}; this run needs {wanted}")
