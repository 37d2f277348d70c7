"""Small class-conditional diffusion models by the images' size: their networks, and how these are trained.

All of this is our choice. Costs are forward multiply-adds x 2, per image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from distill_bench.errors import UserError, closest
from distill_bench.groups import GeneratorConfig

__all__ = ["ARCHITECTURES", "DenoiserArchitecture", "architecture_for"]


@dataclass(frozen=True, kw_only=True)
class DenoiserArchitecture:
    """A network and its training."""

    network: str  # mlp | unet | dit
    width: int  # channels; of the finest level of a U-Net
    multipliers: tuple[int, ...] = ()  # of the width, by level of a U-Net
    depth: int = 1  # residual layers by level of a U-Net; blocks of the others
    attention: tuple[int, ...] = ()  # sides of the maps with attention
    fold: int = 1  # pixels folded into channels, a side: a quarter of the cost at 2
    patch: int = 1  # side of a transformer's patches
    dropout: float = 0.0
    batch: int
    lr: float
    steps: int = 1_000_000
    seconds: float = math.inf

    def largest_map(self, resolution: int) -> int:
        """Elements of the network's largest map for one image: what a pass on a CPU is bounded by."""
        if self.network == "mlp":
            return 4 * self.width
        side = resolution // self.fold
        return 2 * self.width * side**2 // self.patch**2


_SMALL = DenoiserArchitecture(
    network="unet",
    width=64,
    multipliers=(1, 2, 4),
    depth=2,
    attention=(16, 8),
    dropout=0.1,
    batch=512,
    lr=8e-4,
    seconds=420,
)

ARCHITECTURES: dict[str, DenoiserArchitecture] = {
    "digits8_mlp": DenoiserArchitecture(
        network="mlp", width=128, depth=3, batch=128, lr=2e-3, steps=2500
    ),  # 0.8 MFLOP
    "digits8_unet": DenoiserArchitecture(
        network="unet", width=32, multipliers=(1, 2), attention=(4,), batch=128, lr=1e-3, steps=600
    ),
    "fmnist_mlp": DenoiserArchitecture(
        network="mlp", width=512, depth=4, batch=256, lr=1e-3, seconds=120
    ),  # 17 MFLOP
    "fmnist_unet": DenoiserArchitecture(
        network="unet", width=32, multipliers=(1, 2, 4), attention=(8,), batch=512, lr=1e-3, seconds=120
    ),
    "cifar_cpu": DenoiserArchitecture(
        network="unet",
        width=48,
        multipliers=(1, 2, 2),
        attention=(8,),
        fold=2,
        batch=128,
        lr=1e-3,
        seconds=2400,
    ),
    "cifar_s": _SMALL,  # 4.6 GFLOP
    "cifar_m": replace(_SMALL, width=128, multipliers=(1, 2, 2), lr=4e-4, seconds=420),  # 12.5 GFLOP
    "tiny_s": replace(_SMALL, fold=2, seconds=420),
    "tiny_dit": DenoiserArchitecture(
        network="dit", width=384, depth=12, patch=4, batch=1024, lr=5e-4, seconds=420
    ),
    "rgb128_s": replace(_SMALL, fold=4, seconds=420),
}

AUTO = {8: "digits8_mlp", 28: "fmnist_unet", 32: "cifar_s", 64: "tiny_s", 128: "rgb128_s"}


def architecture_for(config: GeneratorConfig, resolution: int) -> DenoiserArchitecture:
    """The architecture of `config` for images of this size, within the config's bounds.

    UserError, one line, for an unknown architecture or a size that none is made for.
    """
    name = config.architecture
    if name == "auto":
        if resolution not in AUTO:
            sizes = ", ".join(str(size) for size in AUTO)
            reason = f"made for {sizes} pixels; name one, or take generator=dit_xl2_256"
            raise UserError(f"generator.architecture=auto: none for images of {resolution} pixels; {reason}")
        name = AUTO[resolution]
    if name not in ARCHITECTURES:
        allowed = closest(name, ["auto", *ARCHITECTURES])
        raise UserError(f"generator.architecture={name}: no such architecture; {allowed}")
    largest = ARCHITECTURES[name]
    return replace(
        largest,
        width=min(largest.width, config.width),
        steps=min(largest.steps, config.train_steps),
        seconds=min(largest.seconds, config.train_seconds),
        batch=min(largest.batch, config.batch_size),
        lr=config.lr or largest.lr,
    )
