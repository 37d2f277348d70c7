"""Coresets: herding and k-center selection in feature space, vectorised over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill_bench import models, training
from distill_bench.groups import FeatureSource, Init

if TYPE_CHECKING:
    from distill_bench.contract import Context

__all__ = ["greedy_kcenter", "herding", "select_coreset"]


def herding(features_KND: torch.Tensor, valid_KN: torch.Tensor, count: int) -> torch.Tensor:
    """Greedy selection whose running mean stays closest to the class mean (Welling 2009; iCaRL's rule).

    .. math:: i_t = \\arg\\min_{i \\text{ not chosen}} \\| t\\mu - \\sum_{s<t} z_{i_s} - z_i \\|_2

    ``features_KND`` holds K classes padded to N rows, ``valid_KN`` marks the real ones; returns positions
    (K, count), distinct within a class. Every class must have at least ``count`` valid rows. Ties go to the
    first. The squared norm is expanded, so each step is one batched matrix-vector product.
    """
    weight = valid_KN.to(features_KND.dtype)
    mean_KD = (features_KND * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
    centred_KND = (
        features_KND - mean_KD[:, None]
    )  # herding does not depend on the origin; this keeps precision
    squares_KN = centred_KND.square().sum(2)
    open_KN = valid_KN.clone()
    total_KD = torch.zeros_like(mean_KD)
    chosen = []
    for _ in range(count):
        cost_KN = squares_KN + 2 * torch.einsum("knd,kd->kn", centred_KND, total_KD)
        pick_K = cost_KN.masked_fill(~open_KN, torch.inf).argmin(1)
        open_KN.scatter_(1, pick_K[:, None], False)
        total_KD += _rows(centred_KND, pick_K)
        chosen.append(pick_K)
    return torch.stack(chosen, dim=1)


def greedy_kcenter(features_KND: torch.Tensor, valid_KN: torch.Tensor, count: int) -> torch.Tensor:
    """Greedy farthest-first traversal, a 2-approximation of the k-center problem (Gonzalez 1985).

    .. math:: i_t = \\arg\\max_i \\min_{s<t} \\| z_i - z_{i_s} \\|_2

    The first point is the one closest to the class mean (our choice; others draw it at random). Shapes as in
    `herding`.
    """
    weight = valid_KN.to(features_KND.dtype)
    mean_KD = (features_KND * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
    from_mean_KN = (features_KND - mean_KD[:, None]).square().sum(2)
    pick_K = from_mean_KN.masked_fill(~valid_KN, torch.inf).argmin(1)
    nearest_KN = torch.full_like(weight, torch.inf).masked_fill(~valid_KN, -1.0)
    chosen = [pick_K]
    for _ in range(count - 1):
        away_KN = (features_KND - _rows(features_KND, pick_K)[:, None]).square().sum(2)
        nearest_KN = torch.minimum(nearest_KN, away_KN).scatter(1, pick_K[:, None], -1.0)
        pick_K = nearest_KN.argmax(1)
        chosen.append(pick_K)
    return torch.stack(chosen, dim=1)


def select_coreset(ctx: Context, rule: Init, source: FeatureSource) -> torch.Tensor:
    """Training-set indices (K, IPC) selected by `rule` (herding or kcenter) in the features of `source`."""
    train = ctx.dataset.train
    select = {Init.herding: herding, Init.kcenter: greedy_kcenter}[rule]
    features_ND = _features(ctx, source)
    picks = []
    for members, count in zip(train.class_indices, train.class_counts.tolist(), strict=True):
        features = features_ND[members[:count].to(features_ND.device)].to(ctx.device, torch.float32)
        valid = torch.ones(1, count, dtype=torch.bool, device=ctx.device)
        picks.append(members[:count][select(features[None], valid, ctx.ipc.images_per_class)[0]])
    return torch.stack(picks)


def _features(ctx: Context, source: FeatureSource) -> torch.Tensor:
    """Features (N, D) of all training images; embeddings are half precision, made once and cached."""
    data = ctx.dataset
    if source is FeatureSource.pixels:
        return torch.cat([images.flatten(1).cpu() for images, _ in data.train.batches(2000)])
    parts = {"data": data.fingerprint, "source": source.name, **training.student_parts(ctx)}

    def make() -> dict[str, torch.Tensor]:
        net = models.build(
            ctx.student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
        )
        if source is FeatureSource.trained:
            net.load_state_dict(training.full_data_networks(ctx).weights[0])
        else:
            models.reinitialise(net, ctx.generator("features", device="cpu"))
        return {"features": training.embeddings(net.to(ctx.device), data.train).half().cpu()}

    return ctx.cache.get("features", parts, make)["features"]


def _rows(features_KND: torch.Tensor, pick_K: torch.Tensor) -> torch.Tensor:
    """Row pick_K[k] of each class: (K, D)."""
    return features_KND[torch.arange(len(pick_K), device=pick_K.device), pick_K]
