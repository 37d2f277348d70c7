"""Coresets: herding and k-center selection in feature space, vectorised over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill_bench import models, training
from distill_bench.matching.settings import FeatureSource, Init

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import ProtocolConfig, StudentConfig
    from distill_bench.running import Run

__all__ = ["coreset_features", "greedy_kcenter", "herding", "select_coreset"]


def herding(features_KND: Tensor, valid_KN: Tensor, count: int) -> Tensor:
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
    free_KN = valid_KN.clone()
    total_KD = torch.zeros_like(mean_KD)
    picks = []
    for _ in range(count):
        cost_KN = squares_KN + 2 * torch.einsum("knd,kd->kn", centred_KND, total_KD)
        pick_K = cost_KN.masked_fill(~free_KN, torch.inf).argmin(1)
        free_KN.scatter_(1, pick_K[:, None], False)
        total_KD += _rows(centred_KND, pick_K)
        picks.append(pick_K)
    return torch.stack(picks, dim=1)


def greedy_kcenter(features_KND: Tensor, valid_KN: Tensor, count: int) -> Tensor:
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
    picks = [pick_K]
    for _ in range(count - 1):
        away_KN = (features_KND - _rows(features_KND, pick_K)[:, None]).square().sum(2)
        nearest_KN = torch.minimum(nearest_KN, away_KN).scatter(1, pick_K[:, None], -1.0)
        pick_K = nearest_KN.argmax(1)
        picks.append(pick_K)
    return torch.stack(picks, dim=1)


def select_coreset(data: ImageDataset, rule: Init, features_ND: Tensor, per_class: int) -> Tensor:
    """Training-set indices (K, IPC) that `rule` (herding, kcenter) selects by the features of all images."""
    select = {Init.herding: herding, Init.kcenter: greedy_kcenter}[rule]
    train, rows = data.train, []
    for members, count in zip(train.class_indices, train.class_counts.tolist(), strict=True):
        features = features_ND[members[:count].to(features_ND.device)].to(members.device, torch.float32)
        valid = torch.ones(1, count, dtype=torch.bool, device=members.device)
        rows.append(members[:count][select(features[None], valid, per_class)[0]])
    return torch.stack(rows)


def coreset_features(
    run: Run,
    data: ImageDataset,
    source: FeatureSource,
    student: StudentConfig | None,
    protocol: ProtocolConfig | None,
) -> Tensor:
    """Features (N, D) of all training images; embeddings are half precision, made once and cached.

    Pixels need neither a student nor a protocol, embeddings of a random network no protocol.
    """
    if source is FeatureSource.pixels:
        return torch.cat([images.flatten(1).cpu() for images, _ in data.train.batches(2000)])
    assert student is not None
    if source is FeatureSource.random:
        own = {"student": student.identity(), "seed": run.seed}
    else:
        assert protocol is not None
        own = training.student_parts(data, student, protocol)

    def make(part: Run) -> dict[str, Tensor]:
        if protocol is not None and source is FeatureSource.trained:
            net = training.full_data_network(part, data, student, protocol)
        else:
            net = _random_network(part, data, student)
        return {"features": training.embeddings(net, data.train).half().cpu()}

    parts = {"data": data.fingerprint, "source": source.name, **own}
    features: Tensor = run.cached("features", parts, make)["features"]
    return features


def _random_network(run: Run, data: ImageDataset, student: StudentConfig) -> nn.Module:
    """The student as initialised; the draw follows from the run's seed."""
    net = models.for_data(student, data)
    models.reinitialise(net, run.generator("features", device="cpu"))
    return net.to(run.device)


def _rows(features_KND: Tensor, pick_K: Tensor) -> Tensor:
    """Row pick_K[k] of each class: (K, D)."""
    return features_KND[torch.arange(len(pick_K), device=pick_K.device), pick_K]
