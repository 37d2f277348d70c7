"""What a run left, in a form that two runs can be compared in: names of files, and contents but for times."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from distill_bench.files import load_tensors

__all__ = ["contents"]


def contents(roots: Path) -> dict[str, Any]:
    """Every file under products/ and runs/ by its place, and the names of the files in the cache."""
    files = [
        file for part in ("products", "runs") for file in sorted((roots / part).rglob("*")) if file.is_file()
    ]
    tree: dict[str, Any] = {file.relative_to(roots).as_posix(): _content(file) for file in files}
    return {
        **tree,
        "cache": sorted(file.relative_to(roots).as_posix() for file in (roots / "cache").rglob("*")),
    }


def _content(file: Path) -> Any:
    if file.suffix == ".safetensors":
        return _digest({key: value for key, value in load_tensors(file).items() if key != "seconds"})
    if file.suffix == ".json":
        return _timeless(json.loads(file.read_text()))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        content = tree.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return [list(tree.shape), hashlib.sha256(content).hexdigest()]
    if isinstance(tree, dict):
        return {key: _digest(value) for key, value in tree.items()}
    return [_digest(value) for value in tree] if isinstance(tree, list) else tree


def _timeless(record: Any) -> Any:
    """A record without what a clock says; the digest of a product with times in it is such a thing too."""
    if not isinstance(record, dict) or "measures" not in record:
        return record
    timed = any(measure["name"] == "seconds" for measure in record["measures"])
    record = {key: value for key, value in record.items() if key != "provenance"}
    if timed or record.get("kind") == "reduced_mixtures":
        record.pop("digest", None)
        record.get("product", {}).pop("digest", None)
    record["measures"] = [m for m in record["measures"] if m["name"] not in ("seconds", "step_seconds")]
    return record
