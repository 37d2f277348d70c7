"""A protocol for one cell: images per class and the number of classes set epochs, batch and rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from distill_bench.groups import ProtocolConfig

__all__ = ["protocol_for"]


def protocol_for(protocol: ProtocolConfig, images_per_class: int, num_classes: int) -> ProtocolConfig:
    """The protocol whose tables are replaced by their values for so many images and classes.

    E = min(epochs, table / epoch_scale), at least 1. From the last entry of `by_classes` that the number of
    classes reaches come other rates, decays and batches, and factors; E times its factor is floored to
    hundreds.
    """
    changes = _reached(protocol.by_classes, num_classes)
    epochs = _entry(protocol.epochs_by_ipc, images_per_class, protocol.epochs)
    if "epochs_factor" in changes:
        epochs = max(100, int(epochs * changes["epochs_factor"]) // 100 * 100)
    batch = _entry(protocol.batch_by_ipc, images_per_class, protocol.batch_size) * changes.get(
        "batch_factor", 1
    )
    return replace(
        protocol,
        epochs=max(1, min(protocol.epochs, round(epochs / protocol.epoch_scale))),
        lr=changes.get("lr", protocol.lr),
        weight_decay=changes.get("weight_decay", protocol.weight_decay),
        batch_size=int(changes.get("batch_size", batch)),
        epochs_by_ipc={},
        batch_by_ipc={},
        by_classes={},
        epoch_scale=1.0,
    )


def _entry(table: Mapping[int, int], images_per_class: int, otherwise: int) -> int:
    """The value of the first key that is not below, or of the largest key; `otherwise` without a table."""
    if not table:
        return otherwise
    return table[min((key for key in table if key >= images_per_class), default=max(table))]


def _reached(table: Mapping[int, Mapping[str, float]], num_classes: int) -> Mapping[str, float]:
    """The entry of the largest key that is not above."""
    keys = [key for key in table if key <= num_classes]
    return table[max(keys)] if keys else {}
