r"""Tuning a diffusion prior by Minimax: Gu et al., Efficient Dataset Distillation via Minimax Diffusion, CVPR
2024.

.. math:: L = L_{simple} + \lambda_r L_r + \lambda_d L_d

Two memories hold, for each class, the last N real x_0 (M_c) and the last N predictions (D_c) of earlier
batches; Z_c are the batch's own predictions x0h, unclipped, with their gradient:

.. math:: L_r = \frac{1}{n} \sum_c \Big( 1 - \min_{i \in Z_c, m \in M_c} \cos(x0h_i, m) \Big), \quad
    L_d = \frac{1}{n} \sum_c \max_{i \in Z_c, d \in D_c} \cos(x0h_i, d)

over the n classes in the batch; a class whose memory is empty adds nothing. As published: the criteria, their
weights, AdamW without weight decay at a constant rate, the parameters that are trained (DiffFit), labels
dropped. Our choices are marked where they are made.

Legend: B images of a batch, D elements of x_0, K classes, N places of a memory.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.generative.average import update_average
from distill_bench.generative.load import load_prior, prior_parts
from distill_bench.generative.process import Prediction
from distill_bench.generative.training import denoising_loss, drop_labels, flat_adamw
from distill_bench.generative.variational import variance_bound
from distill_bench.groups import GeneratorKind
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.generative.prior import Prior
    from distill_bench.groups import GeneratorConfig
    from distill_bench.running import Run

__all__ = [
    "Memory",
    "average_decay",
    "closest_match",
    "trainable_parameters",
    "tuned_prior",
    "worst_match",
]

PUBLISHED_ITERATIONS = 12_000


class MinimaxTuning(Protocol):
    """What fine-tuning needs of a method's Config."""

    iterations: int
    lr: float
    batch: int
    lambda_r: float
    lambda_d: float
    memory: int
    ema: float

    @property
    def trainable(self) -> Enum:
        """Which parameters: `difffit` or `all`."""
        ...


class Memory(nn.Module):
    """The last N vectors of each class, as unit vectors: the oldest is the first to go. No gradient reaches
    them."""

    units: Tensor
    pushed: Tensor

    def __init__(self, num_classes: int, size: int, dimension: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer(
            "units", torch.zeros(num_classes * size + 1, dimension)
        )  # the last row is never read
        self.register_buffer("pushed", torch.zeros(num_classes, dtype=torch.long))  # vectors so far, by class

    def held(self, labels_B: Tensor) -> Tensor:
        """(B, N) whether a place of the class's memory holds a vector."""
        return torch.arange(self.size, device=labels_B.device) < self.pushed[labels_B, None]

    def cosines(self, x_BD: Tensor, labels_B: Tensor) -> Tensor:
        """(B, N) cosines of each vector with its class's memory, 0 at empty places; gradients flow to
        `x_BD`."""
        units_KND = self.units[:-1].unflatten(0, (-1, self.size))
        return torch.einsum("bd,bnd->bn", F.normalize(x_BD, dim=1), units_KND[labels_B])

    @torch.no_grad()
    def push(self, x_BD: Tensor, labels_B: Tensor) -> None:
        """Append vectors in the order of the batch."""
        same_BB = labels_B[:, None] == labels_B
        earlier_B, later_B = same_BB.tril(-1).sum(1), same_BB.triu(1).sum(1)
        rows_B = labels_B * self.size + (self.pushed[labels_B] + earlier_B) % self.size
        rows_B = rows_B.where(later_B < self.size, len(self.units) - 1)  # pushed out again by this same batch
        self.units[rows_B] = F.normalize(x_BD, dim=1)
        self.pushed.scatter_add_(0, labels_B, torch.ones_like(labels_B))


def worst_match(x0h_BD: Tensor, labels_B: Tensor, real: Memory) -> Tensor:
    """L_r, in [0, 2]: one minus the worst cosine of a class with its real memory, mean over the batch's
    classes.

    Scalar; its gradient reaches one image of each class that was met before.
    """
    held_BN = real.held(labels_B)
    worst_B = real.cosines(x0h_BD, labels_B).masked_fill(~held_BN, 2.0).min(1).values
    return _mean_over_classes(1 - worst_B, _lowest_of_class(worst_B, labels_B), held_BN)


def closest_match(x0h_BD: Tensor, labels_B: Tensor, pseudo: Memory) -> Tensor:
    """L_d, in [-1, 1]: the largest cosine of a class with its earlier predictions, mean over the batch's
    classes.

    Scalar; its gradient reaches one image of each class that was met before.
    """
    held_BN = pseudo.held(labels_B)
    closest_B = pseudo.cosines(x0h_BD, labels_B).masked_fill(~held_BN, -2.0).max(1).values
    return _mean_over_classes(closest_B, _lowest_of_class(-closest_B, labels_B), held_BN)


def _lowest_of_class(values_B: Tensor, labels_B: Tensor) -> Tensor:
    """(B,) true for the one image of each class with its lowest value."""
    same_BB = labels_B[:, None] == labels_B
    lowest_B = values_B.detach().expand_as(same_BB).masked_fill(~same_BB, torch.inf).argmin(1)
    return lowest_B == torch.arange(len(labels_B), device=labels_B.device)


def _mean_over_classes(values_B: Tensor, one_per_class_B: Tensor, held_BN: Tensor) -> Tensor:
    counted_B = one_per_class_B & held_BN.any(1)
    return values_B.where(counted_B, torch.zeros_like(values_B)).sum() / one_per_class_B.sum()


def trainable_parameters(network: nn.Module, difffit: bool) -> dict[str, nn.Parameter]:
    """The parameters to tune, by name; they alone require gradients afterwards.

    All, or those of DiffFit, as published: biases, norms, label embeddings, and new scales gamma (one a
    channel, 1 at first) of queries, keys, values, projection and both branches, in the first half of a
    transformer's blocks. A network without such blocks has no scales.
    """
    if difffit:
        _add_scales(network)
    parameters = {
        f"{place}.{name}" if place else name: parameter
        for place, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if not difffit or name in ("bias", "gamma") or isinstance(module, WHOLE)
    }
    network.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return parameters


WHOLE = (nn.Embedding, nn.GroupNorm, nn.LayerNorm)  # tuned with all their parameters


def _add_scales(network: nn.Module) -> None:
    """Multiply outputs by a parameter `gamma` of ones: bits are unchanged."""
    for holder in network.modules():
        blocks = getattr(holder, "transformer_blocks", None)
        if isinstance(blocks, nn.ModuleList):
            for block in blocks[: len(blocks) // 2]:
                attention: Any = block.attn1
                width = attention.to_out[0].out_features
                parts: list[Any] = [attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]]
                for part in (*parts, attention, block.ff):
                    _scaled(part, getattr(part, "out_features", width))


def _scaled(module: nn.Module, width: int) -> None:
    like = next(module.parameters())
    module.register_parameter("gamma", nn.Parameter(torch.ones(width, device=like.device, dtype=like.dtype)))
    module.register_forward_hook(lambda owner, _, output: output * owner.gamma.to(output.dtype))


def tuned_prior(run: Run, data: ImageDataset, config: GeneratorConfig, cfg: MinimaxTuning) -> Prior:
    """The prior of `config` after fine-tuning, frozen; made once for all seeds and set sizes, and cached.

    No iterations: the prior as it is.
    """
    prior = load_prior(run, data, config)
    if not cfg.iterations:
        return prior
    parameters = trainable_parameters(prior.network, cfg.trainable.name == "difffit")

    def make(part: Run) -> dict[str, Any]:
        return {"weights": _tune(part, data, prior, config, parameters, cfg)}

    saved = run.cached("minimax", _parts(data, config, cfg), make)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved["weights"][name])
    prior.network.requires_grad_(False)
    return prior


def average_decay(ema: float, iterations: int) -> float:
    """The decay of the running mean of the weights: `ema`, or less in a short run (our choice).

    The published 0.9999 over 12,000 steps leaves the starting weights a share of 0.3; a shorter run keeps
    that share.
    """
    return max(0.0, min(ema, 1 - PUBLISHED_ITERATIONS * (1 - ema) / iterations))


def _parts(data: ImageDataset, config: GeneratorConfig, cfg: MinimaxTuning) -> dict[str, Any]:
    """What the tuned weights depend on, as JSON for a cache key."""
    keys = ("iterations", "lr", "batch", "lambda_r", "lambda_d", "memory", "ema")
    learned = (
        {"variance_bound": 2} if config.kind is GeneratorKind.dit else {}
    )  # raised when the term changes
    return {
        **learned,
        "prior": prior_parts(data, config),
        "tuning": {key: getattr(cfg, key) for key in keys},
        "trainable": cfg.trainable.name,
        "label_drop": config.label_drop,
        "min_snr": config.min_snr,
        "flips": _flips(data),
    }


def _tune(
    run: Run,
    data: ImageDataset,
    prior: Prior,
    config: GeneratorConfig,
    parameters: dict[str, nn.Parameter],
    cfg: MinimaxTuning,
) -> dict[str, Tensor]:
    """The running mean of the tuned parameters; resumable.

    1. Draw a batch of real images (uniformly, our choice); latents are sampled from their posteriors.
    2. L_simple at uniform times with labels dropped, which gives x0h of each image.
    3. Both criteria against the memories, by the images' own classes, dropped or not.
    4. Then append the batch to the memories; step; average.

    Dropout of the network stays off (our choice: the prior is tuned as it is sampled).
    """
    elements = math.prod(prior.shape)
    weights, optimiser = flat_adamw(nn.ParameterList(parameters.values()), cfg.lr)
    optimiser.param_groups[0]["betas"] = (0.9, 0.999)
    average, decay = weights.detach().clone(), average_decay(cfg.ema, cfg.iterations)
    real, pseudo = (Memory(data.num_classes, cfg.memory, elements).to(run.device) for _ in range(2))
    state = {
        **optimiser.state[weights],
        "weights": weights,
        "average": average,
        "real": real,
        "pseudo": pseudo,
    }
    for step in run.loop("minimax", cfg.iterations, state):
        draws = generator(0, "minimax", step, device=run.device)  # seed 0: one tuned prior for all seeds
        x0, labels = _real_batch(data, prior, cfg.batch, draws)
        simple, x0h = _simple_loss(prior, config, x0, labels, draws)
        x0_BD, x0h_BD = x0.flatten(1), x0h.flatten(1)
        worst, closest = worst_match(x0h_BD, labels, real), closest_match(x0h_BD, labels, pseudo)
        loss = simple + cfg.lambda_r * worst + cfg.lambda_d * closest
        loss.backward()
        real.push(x0_BD, labels)
        pseudo.push(x0h_BD.detach(), labels)
        optimiser.step()
        weights.grad.zero_()  # type: ignore[union-attr]
        update_average([average], [weights], decay)
        parts = {"simple": simple.detach(), "worst_match": worst.detach(), "closest_match": closest.detach()}
        run.log("minimax", step, loss=loss.detach(), **parts)
    with torch.no_grad():
        weights.copy_(average)
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _real_batch(data: ImageDataset, prior: Prior, size: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Real x_0 (B, C, H, W) in the prior's space, mirrored at random where the data set's labels allow, and
    classes."""
    indices = torch.randint(len(data.train), (size,), generator=draws, device=draws.device)
    images = data.train.unit(indices) * 2 - 1
    if _flips(data):
        mirrored = torch.rand(size, 1, 1, 1, generator=draws, device=draws.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    x0 = prior.autoencoder.encode(images, draws) if prior.latent else images
    return x0, data.train.labels[indices]


def _simple_loss(
    prior: Prior, config: GeneratorConfig, x0: Tensor, labels: Tensor, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The loss with which the prior was trained, labels dropped, and x0h (B, C, H, W), both with gradients.

    A prior that predicts the noise (DiT) has the unweighted loss, and the term for its variance if that is
    learned.
    """
    calls = []

    def network(x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        calls.append((t, prior.raw(x_t, t, labels)))
        return calls[0][1]

    gamma = math.inf if prior.prediction is Prediction.epsilon else config.min_snr
    labels = drop_labels(labels, prior.null, config.label_drop, draws)
    with torch.autocast(x0.device.type, torch.bfloat16, enabled=x0.device.type == "cuda"):
        loss, x0h = denoising_loss(network, prior.prediction, prior.alpha_bars, x0, labels, gamma, draws)
    if prior.learned_variance:
        t, output = calls[0]
        loss = loss + variance_bound(prior.alpha_bars, t, x0, x0h, output[:, x0.shape[1] :])
    return loss, x0h


def _flips(data: ImageDataset) -> bool:
    return "flip" in data.augmentation.split("_")
