"""Derived randomness: every draw follows from (run seed, purpose, step), never from a global generator.

A resumed run therefore needs no saved generator state, and two methods that name the same purpose see the
same draws.
"""

from __future__ import annotations

import hashlib

import torch

__all__ = ["derive", "generator"]


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that follows from `seed` and `purpose` alone (BLAKE2b of their text)."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on `device`, seeded by `derive(seed, *purpose)`."""
    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))
