r"""What a channel is trained towards, without labels: instance discrimination, less a term that wants an
instance's views to differ in their symbols.

Source: the public code of IGDS's first author (see `channel`), by its equations.

Legend: B instances of a step, W views of each, S symbols, M queued keys; P_i = softmax of view i's feature
over T2.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import models, training
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.information.channel import ChannelTraining

__all__ = ["Contrast", "contrast", "jeffreys_halves"]


def contrast(query_BS: Tensor, key_BS: Tensor, queue_MS: Tensor, temperature: float) -> Tensor:
    r"""InfoNCE, the mean over instances of

    .. math:: -\log \frac{e^{a \cdot k / T}}{e^{a \cdot k / T} + \sum_j e^{a \cdot k_j / T}}

    for a query a, its key k and M queued keys; log(M + 1) less it bounds I(a; k) from below.
    """
    positive = (query_BS * key_BS).sum(1, keepdim=True)
    logits = torch.cat([positive, query_BS @ queue_MS.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.long))


def jeffreys_halves(log_p_WBS: Tensor) -> tuple[Tensor, Tensor]:
    r"""(mean KL(sg[Q] || P_i), mean KL(P_i || sg[Q])) over views and instances, Q an instance's mean P_i.

    The first is lautum information, unbounded; the second mutual information, at most log W. Their sum is
    the mean Jeffreys divergence. Detaching Q is exact for the second alone.
    """
    log_q = (log_p_WBS.detach().logsumexp(0) - math.log(len(log_p_WBS))).expand_as(log_p_WBS)
    lautum = F.kl_div(log_p_WBS, log_q, reduction="none", log_target=True)
    mutual = F.kl_div(log_q, log_p_WBS, reduction="none", log_target=True)
    return lautum.sum(-1).mean(), mutual.sum(-1).mean()


class Contrast(training.Objective):
    r"""`contrast` less F times the term of `jeffreys_halves`, from W views of B instances, view by view.

    The query is the mean of an instance's features, not of unit norm again; its key is that of a slow copy of
    the network, :math:`w' \leftarrow m w' + (1 - m) w` before each step, which has no gradient. The oldest
    keys leave the queue first.
    """

    whole = True
    queue: Tensor
    slow: Tensor

    def __init__(self, net: nn.Module, plan: ChannelTraining, keys: int) -> None:
        super().__init__()
        self.plan = plan
        slow_net = copy.deepcopy(net)
        flat = models.flatten_parameters(slow_net)
        for parameter in slow_net.parameters():
            parameter.requires_grad_(False)
        self._nets = (net, slow_net)  # in a tuple: no parts of this module
        self.register_buffer("slow", flat)  # the slow network's parameters are views of it
        draws = generator(0, "channel queue", device=flat.device)
        start = torch.randn(keys, plan.symbols, generator=draws, device=flat.device)
        self.register_buffer("queue", F.normalize(start, dim=1))

    def forward(self, output: Tensor, batch: training.Batch) -> Tensor:
        """The sum over all views of the mean loss."""
        plan, views = self.plan, self.plan.views
        keys = self._keys(batch.images[0]).unflatten(0, (views, -1)).mean(0)
        features = output.unflatten(0, (views, -1))
        loss = contrast(features.mean(0), keys, self.queue.clone(), plan.contrast_temperature)
        if plan.term_weight:
            lautum, mutual = jeffreys_halves((features / plan.term_temperature).log_softmax(-1))
            loss = loss - plan.term_weight * (lautum if plan.divergence == "lautum" else mutual)
        self.queue.copy_(torch.cat([keys, self.queue])[: len(self.queue)])
        return loss * len(output)

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        net, slow = self._nets
        own: list[Tensor] = list(slow.parameters())
        torch._foreach_lerp_(own, [weight.detach() for weight in net.parameters()], 1 - self.plan.momentum)
        return slow(images)
