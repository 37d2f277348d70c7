"""Under what conditions networks are attacked: evaluation mode, weights at rest, whole single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["at_rest", "single_precision"]


@contextmanager
def at_rest(nets: Callable[..., Any]) -> Iterator[None]:
    """In evaluation mode and without gradients of weights, then each module and weight as it was.

    Each module's own mode is put back, so a frozen normalisation layer stays so. What is no module is left
    alone.
    """
    modules = list(nets.modules()) if isinstance(nets, nn.Module) else []
    weights = list(nets.parameters()) if isinstance(nets, nn.Module) else []
    modes, wanted = [module.training for module in modules], [weight.requires_grad for weight in weights]
    try:
        for module in modules:
            module.training = False
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for weight, want in zip(weights, wanted, strict=True):
            weight.requires_grad_(want)


@contextmanager
def single_precision() -> Iterator[None]:
    """Without autocast and TF32, whose rounding can turn borderline images; then as it was."""
    switches = _switches()
    before = [getattr(owner, name) for owner, name, _ in switches]
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            for owner, name, exact in switches:
                setattr(owner, name, exact)
            yield
        finally:
            for (owner, name, _), value in zip(switches, before, strict=True):
                setattr(owner, name, value)


def _switches() -> list[tuple[Any, str, Any]]:
    """What lets products of single-precision numbers be rounded: (owner, name, value that forbids it).

    Torch has an older and a newer form of these switches, and refuses to tell the older one of cuDNN where
    the newer one was used.
    """
    backends: Any = torch.backends
    older = [(backends.cudnn, "allow_tf32", False)]
    if not hasattr(backends, "fp32_precision"):  # torch 2.8
        return [*older, (backends.cuda.matmul, "allow_tf32", False)]
    owners = [backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv]
    parts = [backends.cudnn.conv, backends.cudnn.rnn]
    set_newly = any(whole.fp32_precision != "none" for whole in (backends, backends.cudnn))
    mixed = set_newly or not _readable(backends.cudnn, "allow_tf32")
    newer = [(owner, "fp32_precision", "ieee") for owner in owners + parts * mixed]
    return newer if mixed else newer + older


def _readable(owner: Any, name: str) -> bool:
    try:
        getattr(owner, name)
    except RuntimeError:
        return False
    return True
