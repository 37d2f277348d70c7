"""One training by several processes: a share of each batch for each, one gradient, one decision to go on.

Legend: W processes, B images of a batch, C channels, n values of a channel.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from distill_bench.interrupt import Interrupted
from distill_bench.processes import alone, barrier, control, is_writer, number, start, tell, world

__all__ = [
    "Part",
    "add_up",
    "alone",
    "barrier",
    "is_writer",
    "number",
    "part_of",
    "shared_batch_norm",
    "shared_steps",
    "start",
    "world",
]

ENDED, STOPPED, AT_LIMIT = -1, -2, -3  # what process 0 says in place of a step


@dataclass(frozen=True)
class Part:
    """What one process does of a batch."""

    at: slice  # its images
    total: int  # images that all processes go through
    divided: bool  # False: each goes through all of them, so that each is counted W times


def part_of(size: int, *, whole: bool = False) -> Part:
    """The part of this process in a batch of `size` images: a W-th, up to one image.

    Each process takes all of them where there are fewer images than processes, and where a loss compares the
    images of a `whole` batch.
    """
    count, here = world(), number()
    if count == 1 or whole or size < count:
        return Part(slice(0, size), size * count, divided=False)
    return Part(slice(here * size // count, (here + 1) * size // count), size, divided=True)


def add_up(*tensors: Tensor) -> None:
    """Replace tensors by their sums over processes, in place."""
    if world() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def shared_steps(
    loop: Callable[[str, int, dict[str, Any]], Iterator[int]], name: str, total: int, state: dict[str, Any]
) -> Generator[int, None, None]:
    """The steps of `loop` (see `Run.loop`), which process 0 alone goes through: it restores, saves and stops.

    Each step is told to the others, who begin with its `state`. They hear no signals meanwhile, so that all
    stop at the same step. Interrupted, in the others, when process 0 stops.
    """
    if world() == 1:
        yield from loop(name, total, state)
    elif is_writer():
        yield from _led(loop(name, total, state), state)
    else:
        with _signals_ignored():
            yield from _followed(state)


def _led(steps: Iterator[int], state: dict[str, Any]) -> Iterator[int]:
    given = False
    try:
        for step in steps:
            tell(step)
            if not given:
                _from_writer(state)
                given = True
            yield step
    except BaseException as error:
        with suppress(RuntimeError):  # of processes that are gone
            tell(AT_LIMIT if isinstance(error, Interrupted) and error.at_limit else STOPPED)
        raise
    tell(ENDED)
    if not given:
        _from_writer(state)


def _followed(state: dict[str, Any]) -> Iterator[int]:
    given = False
    while (step := tell(0)) >= 0:
        if not given:
            _from_writer(state)
            given = True
        yield step
    if step != ENDED:
        raise Interrupted("process 0 stopped", at_limit=step == AT_LIMIT)
    if not given:
        _from_writer(state)


@torch.no_grad()
def _from_writer(state: dict[str, Any]) -> None:
    """Replace the state by that of process 0, tensors in place."""
    for key, value in state.items():
        if isinstance(value, Tensor):
            dist.broadcast(value, 0, group=control() if value.device.type == "cpu" else None)
            continue
        learned = hasattr(value, "load_state_dict")
        content = [value.state_dict() if learned else value]
        dist.broadcast_object_list(content, 0, group=control())
        if learned:
            value.load_state_dict(content[0])
        else:
            state[key] = content[0]


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Leave Ctrl-C and SIGTERM to process 0 while inside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {kind: signal.signal(kind, signal.SIG_IGN) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def shared_batch_norm(part: Part) -> Iterator[None]:
    """While inside, batch norm in training has the statistics of the batches of all processes together.

    Only of divided batches; of one that every process has, its own are the same.
    """
    plain = F.batch_norm
    if not part.divided:
        yield
        return

    def shared(
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return plain(x, running_mean, running_var, weight, bias, training, momentum, eps)
        result: Tensor = _BatchNorm.apply(x, weight, bias, running_mean, running_var, momentum, eps)
        return result

    F.batch_norm = shared  # type: ignore[assignment]
    try:
        yield
    finally:
        F.batch_norm = plain


class _BatchNorm(torch.autograd.Function):
    r"""Batch norm over the n values of a channel in all processes:

    .. math:: y = \gamma \hat x + \beta, \quad \hat x = (x - \mu) / \sqrt{\sigma^2 + \epsilon}, \quad
        \bar x = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
        \left(\bar y - \tfrac{1}{n} \sum \bar y - \hat x \tfrac{1}{n} \sum \bar y \hat x\right)

    where bars are gradients. Means and variances of the processes are combined, not sums of squares, which
    would lose digits. The gradients of gamma and beta are this process's own: their sum is taken with all
    others.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        axes, shape = _axes(x)
        var_C, mean_C = torch.var_mean(x, axes, correction=0)
        own = torch.cat([mean_C, var_C, mean_C.new_full((1,), x.numel() // len(mean_C))])
        parts = [torch.empty_like(own) for _ in range(world())]
        dist.all_gather(parts, own)
        mean_WC, var_WC, n_W1 = torch.stack(parts).split([len(mean_C), len(mean_C), 1], dim=1)
        n = n_W1.sum()
        mean_C = (n_W1 * mean_WC).sum(0) / n
        var_C = (n_W1 * (var_WC + (mean_WC - mean_C).square())).sum(0) / n
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean_C, momentum)
            running_var.lerp_(var_C * n / (n - 1), momentum)
        scale_C = (var_C + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean_C, scale_C, n)
        normal = (x - mean_C.view(shape)) * scale_C.view(shape)
        if weight is not None:
            normal = normal * weight.view(shape)
        return normal if bias is None else normal + bias.view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean_C, scale_C, n = ctx.saved_tensors
        (arrived,), (axes, shape) = gradients, _axes(x)
        normal = (x - mean_C.view(shape)) * scale_C.view(shape)
        own = torch.stack([arrived.sum(axes), (arrived * normal).sum(axes)])
        both = own.clone()
        dist.all_reduce(both)
        mean, along = (part.view(shape) for part in both / n)
        factor = (scale_C if weight is None else scale_C * weight).view(shape)
        back = factor * (arrived - mean - normal * along)
        of_weight = own[1] if ctx.needs_input_grad[1] else None
        of_bias = own[0] if ctx.needs_input_grad[2] else None
        return back, of_weight, of_bias, None, None, None, None


def _axes(x: Tensor) -> tuple[list[int], list[int]]:
    """(all axes of `x` but the channels, the shape of one value for each channel)."""
    return [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
