"""The device of a run, asked for by name and described for the record."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from distill_bench.errors import UserError
from distill_bench.memory import keep_freed_memory

__all__ = ["choose_device", "describe_device"]


def choose_device(name: str) -> torch.device:
    """`auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:<index>`. UserError if that device is not there.

    A process that computes on the CPU keeps the memory that it frees (`keep_freed_memory`).
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise UserError(
                f"device={name}: this machine has {count} CUDA device(s); use device=cpu or device=auto"
            )
    device = torch.device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def describe_device(device: torch.device) -> str:
    """The hardware behind `device`, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"cpu ({torch.get_num_threads()} threads, {model})"
