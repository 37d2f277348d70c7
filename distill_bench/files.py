"""Files that are whole or absent: temporary name in the same folder, then moved into place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "Damaged",
    "load_saved_by_torch",
    "load_tensors",
    "move",
    "read_header",
    "save_tensors",
    "stamp",
    "sweep",
    "write_json",
    "write_text",
    "write_with",
]


_HEADER = "distill_bench"  # the one key of a file's header
_REASON = 160  # characters of another library's message that tell enough
_PARTIAL = ".partial"  # the end of a temporary file's name


class Damaged(Exception):
    """A file that is truncated, altered, or not the one that was asked for; the message says which and
    why."""


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then move it into place.

    The file has the mode that the umask gives a new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_PARTIAL}")
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # some writers make a file of their own
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Move a whole file into place on the same file system, in the place of what was there."""
    source.replace(target)
    if os.name == "posix":  # the new name is on the disk only when the folder is
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sweep(folder: Path, stem: str = "") -> None:
    """Delete the temporary files (of names that begin with `stem`) that a killed process left in `folder`.

    To be called by who holds the lock of these files.
    """
    for file in folder.glob(f".{stem}*{_PARTIAL}"):
        file.unlink(missing_ok=True)


def stamp(path: Path, suffixes: Collection[str] = ()) -> str:
    """A digest of names, sizes and times of change of the files at or below `path`; empty if there are none.

    Hidden files do not count, and with `suffixes` only files that end so.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    files = [file for file in files if not file.name.startswith(".")]
    total = hashlib.sha256()
    for file in (file for file in files if not suffixes or file.suffix.lower() in suffixes):
        facts = file.stat()
        name = file.relative_to(path).as_posix() if file != path else ""
        total.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16] if files else ""


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def save_tensors(path: Path, tree: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Write a tree of tensors and plain values as one safetensors file; returns the digest of its content.

    `tree` holds tensors, numbers, strings, None, and lists, tuples (read back as lists) and dicts of these;
    `about` is JSON that `load_tensors` can be asked to find. Tensors are copied to the CPU. A digest of every
    byte is kept in the header. Nothing is pickled. Equal content gives equal files.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    structure = _flatten(tree, "", tensors)
    digest = _digest(structure, tensors)
    header = json.dumps({"structure": structure, "about": about, "digest": digest}, sort_keys=True)

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata={_HEADER: header})
        except SafetensorError as error:  # what its own library makes of a full disk
            raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from error

    write_with(path, write)
    return digest


def load_tensors(
    path: Path, about: Mapping[str, Any] | None = None, digest: str | None = None
) -> dict[str, Any]:
    """Read what `save_tensors` wrote.

    Raises `Damaged` for a file that is truncated, altered, of another kind, or whose `about` or digest is not
    the one given; FileNotFoundError for a missing one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            if digest is not None and header["digest"] != digest:
                raise Damaged(f"{path}: its content is not what was written here")
            if about is not None and header["about"] != json.loads(json.dumps(about)):
                raise Damaged(f"{path}: made for something else")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if header["digest"] != _digest(header["structure"], tensors):
            raise Damaged(f"{path}: its content differs from its digest")
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:_REASON]
        raise Damaged(f"{path}: not a whole file of this program ({reason})") from error
    tree: dict[str, Any] = _unflatten(header["structure"], tensors)
    return tree


def read_header(path: Path) -> dict[str, Any]:
    """`about` and `digest` of a file of `save_tensors`, whose tensors are not looked at.

    Raises `Damaged` for a file that has not such a header; FileNotFoundError for a missing one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
        return {"about": header["about"], "digest": header["digest"]}
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:_REASON]
        raise Damaged(f"{path}: not a whole file of this program ({reason})") from error


def load_saved_by_torch(path: Path) -> Any:
    """What torch saved to `path`, on the CPU; tensors and plain values alone, and nothing is executed.

    Raises `Damaged`, one line, for anything else.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its reader fails on foreign bytes in any way: KeyError, EOFError, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0][:_REASON]
        raise Damaged(f"{path}: not a file of tensors ({reason})") from None


def _flatten(node: Any, name: str, tensors: dict[str, Any]) -> Any:
    """Move the tensors of a tree into `tensors`; return what is left as JSON."""
    import torch

    if isinstance(node, torch.Tensor):
        tensors[name] = node.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(node, Mapping):
        return {"dict": [[key, _flatten(child, _below(name, key), tensors)] for key, child in node.items()]}
    if isinstance(node, (list, tuple)):
        return {"list": [_flatten(child, _below(name, i), tensors) for i, child in enumerate(node)]}
    if node is None or isinstance(node, (bool, int, float, str)):
        return {"value": node}
    raise TypeError(f"{name or 'tree'}: cannot store a {type(node).__name__}")


def _below(name: str, key: object) -> str:
    return f"{name}/{key}" if name else str(key)


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
