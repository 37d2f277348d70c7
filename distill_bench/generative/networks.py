"""Denoising networks for small images: a residual MLP, a U-Net and a diffusion transformer, all
class-conditional.

Each takes (x_t (B, C, H, W), t (B,), labels (B,)), with label K for the null class, and predicts a tensor
like x_t.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel, UNet2DModel
from diffusers.models.embeddings import LabelEmbedding, get_timestep_embedding
from torch import Tensor, nn

from distill_bench.errors import UserError
from distill_bench.generative.architectures import DenoiserArchitecture

__all__ = ["MLP", "Folded", "build_network", "one_label_drop"]


def build_network(
    architecture: DenoiserArchitecture, shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """A fresh network for images of `shape` (C, H, W), drawn from torch's global generator (fork it to seed
    it).

    UserError if the images' size does not fit the architecture.
    """
    channels, side, _ = shape
    if architecture.network == "mlp":
        return MLP(shape, num_classes, architecture.width, architecture.depth)
    transformer, fold = architecture.network == "dit", architecture.fold
    unit = fold * (architecture.patch if transformer else 2 ** (len(architecture.multipliers) - 1))
    padded = unit * math.ceil(side / unit)
    build = _dit if transformer else _unet
    inner = build(architecture, channels * fold**2, padded // fold, num_classes)
    return Folded(inner, fold, padded - side)


class MLP(nn.Module):
    """Residual blocks on the flattened pixels, modulated by time and class (as DiT's adaLN-zero)."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, width: int, depth: int) -> None:
        super().__init__()
        pixels = math.prod(shape)
        self.width = width
        self.label = nn.Embedding(num_classes + 1, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.enter, self.leave = nn.Linear(pixels, width), nn.Linear(width, pixels)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
            for _ in range(depth)
        )
        self.modulate = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        for layer in (*self.modulate, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Predict a tensor like `x_t`."""
        condition = F.silu(self.time(get_timestep_embedding(t, self.width)) + self.label(labels))
        hidden = self.enter(x_t.flatten(1))
        for norm, block, modulate in zip(self.norms, self.blocks, self.modulate, strict=True):
            shift, scale, gate = modulate(condition).chunk(3, dim=1)
            hidden = hidden + gate * block(norm(hidden) * (1 + scale) + shift)
        return self.leave(hidden).view_as(x_t)


class Folded(nn.Module):
    """A network of diffusers behind our face: pads, folds squares of pixels into channels, and back."""

    def __init__(self, inner: nn.Module, fold: int, padding: int) -> None:
        super().__init__()
        self.inner, self.fold = inner, fold
        self.padding = (padding // 2, padding - padding // 2) * 2

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Predict a tensor like `x_t`."""
        left, right = self.padding[:2]
        padded = F.pad(x_t, self.padding, value=-1.0) if left + right else x_t
        folded = F.pixel_unshuffle(padded, self.fold) if self.fold > 1 else padded
        if isinstance(self.inner, UNet2DModel):
            output = self.inner(folded, t, class_labels=labels, return_dict=False)[0]
        else:
            output = self.inner(folded, timestep=t, class_labels=labels, return_dict=False)[0]
        output = F.pixel_shuffle(output, self.fold) if self.fold > 1 else output
        height, width = x_t.shape[2:]
        return output[:, :, left : left + height, left : left + width]


def one_label_drop(transformer: nn.Module) -> None:
    """Leave the dropping of labels to the caller.

    In diffusers every block of a DiT has its own label embedder, which in training draws its own mask: no
    sample would be unconditional everywhere, so the unconditional branch would never be trained. The tables
    keep their null row.
    """
    for module in transformer.modules():
        if isinstance(module, LabelEmbedding):
            module.dropout_prob = 0.0


def _unet(architecture: DenoiserArchitecture, channels: int, side: int, num_classes: int) -> nn.Module:
    levels = [architecture.width * factor for factor in architecture.multipliers]
    if any(width % 8 for width in levels):
        raise UserError(f"generator.width={architecture.width}: allowed: a multiple of 8")
    sides = [side // 2**i for i in range(len(levels))]
    attends = [size in architecture.attention for size in sides]
    return UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(levels),
        layers_per_block=architecture.depth,
        dropout=architecture.dropout,
        num_class_embeds=num_classes + 1,
        down_block_types=tuple("AttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        up_block_types=tuple("AttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)),
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
        attention_head_dim=min(levels),
    )


def _dit(architecture: DenoiserArchitecture, channels: int, side: int, num_classes: int) -> nn.Module:
    heads = max(1, architecture.width // 64)
    network = DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=architecture.width // heads,
        in_channels=channels,
        out_channels=channels,
        num_layers=architecture.depth,
        sample_size=side,
        patch_size=architecture.patch,
        num_embeds_ada_norm=num_classes,
    )
    one_label_drop(network)
    with torch.no_grad():  # as DiT starts: every block is the identity (diffusers leaves these layers random)
        for block in network.transformer_blocks:
            block.norm1.linear.weight.zero_()
            block.norm1.linear.bias.zero_()
        network.proj_out_2.weight.zero_()
        network.proj_out_2.bias.zero_()
    return network
