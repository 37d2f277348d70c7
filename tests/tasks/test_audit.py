"""What an independent classifier is asked about the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RunCell = Callable[..., dict[str, Any]]
NAMES = {"label_agreement", "log_likelihood", "cmi", "feature_diversity"}


def test_real_images_have_their_labels_and_shuffled_ones_have_not(run_cell: RunCell) -> None:
    words = ["method=random", "dataset=digits", "ipc=10", "protocol.audit=true", "protocol.epochs=1"]
    words += ["protocol.full_steps=300", "student.width=16", "protocol.nets=1"]
    honest, shuffled = run_cell(*words), run_cell(*words, "dataset.shuffled_labels=true")

    def measured(result: dict[str, Any]) -> dict[str, float]:
        return {
            m["name"]: m["values"][0] for m in result["measures"] if m["facets"].get("by") == "independent"
        }

    assert set(measured(honest)) == NAMES
    assert measured(honest)["label_agreement"] > 90
    assert measured(shuffled)["label_agreement"] < 40
    assert measured(shuffled)["log_likelihood"] < measured(honest)["log_likelihood"]


def test_nothing_is_asked_unless_wanted(run_cell: RunCell) -> None:
    result = run_cell("method=random", "dataset=digits", "ipc=1", "profile=smoke")
    assert not any("by" in measure["facets"] for measure in result["measures"])
