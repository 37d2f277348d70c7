"""Files that are whole or absent: temporary name in the same folder, then moved into place."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Damaged", "load_tensors", "save_tensors", "write_json", "write_text", "write_with"]


class Damaged(Exception):
    """A file that is truncated, altered, or not the one that was asked for; the message says which and
    why."""


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_with(path, lambda temporary: temporary.write_text(text))


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def save_tensors(path: Path, tree: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a tree of tensors and plain values as one safetensors file.

    `tree` holds tensors, numbers, strings, None, and lists, tuples (read back as lists) and dicts of these;
    `about` is JSON that `load_tensors` can be asked to find. Tensors are copied to the CPU. A digest of every
    byte is kept in the header. Nothing is pickled.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    structure = _flatten(tree, "", tensors)
    header = {
        "structure": json.dumps(structure),
        "about": json.dumps(about, sort_keys=True),
        "digest": _digest(structure, tensors),
    }
    write_with(path, lambda temporary: save_file(tensors, temporary, metadata=header))


def load_tensors(path: Path, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read what `save_tensors` wrote.

    Raises `Damaged` for a file that is truncated, altered, of another kind, or whose `about` is not the one
    given; FileNotFoundError for a missing one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        structure = json.loads(header["structure"])
        if header["digest"] != _digest(structure, tensors):
            raise Damaged(f"{path}: its content differs from its digest")
        if about is not None and json.loads(header["about"]) != json.loads(json.dumps(about)):
            raise Damaged(f"{path}: made for {header['about']}")
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise Damaged(f"{path}: not a whole file of ours ({error})") from error
    return _unflatten(structure, tensors)


def _flatten(node: Any, name: str, tensors: dict[str, Any]) -> Any:
    """Move the tensors of a tree into `tensors`; return what is left as JSON."""
    import torch

    if isinstance(node, torch.Tensor):
        tensors[name] = node.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(node, Mapping):
        return {"dict": [[key, _flatten(child, f"{name}/{key}", tensors)] for key, child in node.items()]}
    if isinstance(node, (list, tuple)):
        return {"list": [_flatten(child, f"{name}/{i}", tensors) for i, child in enumerate(node)]}
    if node is None or isinstance(node, (bool, int, float, str)):
        return {"value": node}
    raise TypeError(f"{name or 'tree'}: cannot store a {type(node).__name__}")


def _unflatten(node: Any, tensors: Mapping[str, Any]) -> Any:
    """The inverse of `_flatten`."""
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "dict" in node:
        return {key: _unflatten(child, tensors) for key, child in node["dict"]}
    if "list" in node:
        return [_unflatten(child, tensors) for child in node["list"]]
    return node["value"]


def _digest(structure: Any, tensors: Mapping[str, Any]) -> str:
    """SHA-256 over the structure and every tensor's name, shape, type and bytes."""
    import torch

    total = hashlib.sha256(json.dumps(structure).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
