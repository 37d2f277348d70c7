"""How many networks, and how many images, go through one pass: a matter of speed and memory, never of
results."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill_bench.errors import UserError
from distill_bench.groups import Batching
from distill_bench.models import Network

__all__ = ["images_per_pass", "networks_together"]

CPU_MAP = (
    1 << 23
)  # bytes of a pass's largest map: larger ones are given back to the system and faulted in anew
GPU_MAP = 1 << 30  # bytes: bounds memory; not tuned
CPU_STACK = (
    1 << 22
)  # bytes of the largest map of all the networks, up to which one pass for all was not slower


def networks_together(
    net: nn.Module, batching: Batching, count: int, batch: int, device: torch.device
) -> int:
    """Of `count` networks like `net`, how many are trained in one pass: all of them, or one after another.

    `auto` on a CPU: together where the largest map of a whole step is small (there the overhead of single
    operations dominates; above it, grouped convolutions were slower); measured with `scripts/benchmark.py
    students`. On a GPU: together, unmeasured. Networks of timm are trained one after another. UserError if
    `stacked` is asked of them.
    """
    if not isinstance(net, Network):
        if batching is Batching.stacked:
            raise UserError("protocol.batching=stacked: not for networks of timm; allowed: auto, sequential")
        return 1
    if batching is Batching.auto and device.type == "cpu":
        return count if 4 * count * batch * net.largest_map <= CPU_STACK else 1
    return 1 if batching is Batching.sequential else count


def images_per_pass(net: nn.Module, device: torch.device) -> int | None:
    """Images of a batch that go through `net` at once, their gradients being added up; None: the whole batch.

    Exact up to rounding, since samples do not see each other; so batch norm and networks of timm get whole
    batches.
    """
    if not isinstance(net, Network) or any(isinstance(module, _BatchNorm) for module in net.modules()):
        return None
    limit = GPU_MAP if device.type == "cuda" else CPU_MAP
    return max(1, math.floor(limit / (4 * net.copies * net.largest_map)))
