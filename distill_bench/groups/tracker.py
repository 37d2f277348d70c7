"""`tracker=`: what mirrors the local files."""

from __future__ import annotations

from dataclasses import dataclass

from distill_bench.errors import require

__all__ = ["TrackerConfig"]


@dataclass(kw_only=True)
class TrackerConfig:
    """local files, or local files mirrored to Weights & Biases."""

    mirror: str = "none"
    project: str = "distill_bench"
    mode: str = "offline"

    def __post_init__(self) -> None:
        require(self.mirror in ("none", "wandb"), "tracker.mirror", self.mirror, "none or wandb")
        modes = ("offline", "online", "disabled")
        require(self.mode in modes, "tracker.mode", self.mode, ", ".join(modes))
