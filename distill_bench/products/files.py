"""Products on disk: one safetensors file, whole and self-contained, which says what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from distill_bench.errors import UserError
from distill_bench.files import Damaged, load_tensors, read_header, save_tensors

__all__ = ["RECORD", "describe", "load_product", "product_class", "save_product"]

SCHEMA = 1
RECORD = "product.json"


def product_class(kind: str) -> Any:
    """The class of a kind of product: `synthetic_set` -> `products.synthetic_set.SyntheticSet`.

    KeyError for something that is no kind.
    """
    if not (Path(__file__).parent / f"{kind}.py").is_file() or not kind.isidentifier():
        raise KeyError(kind)
    module = import_module(f"distill_bench.products.{kind}")
    return getattr(module, kind.title().replace("_", ""))


def save_product(path: Path, kind: str, product: Any, about: Mapping[str, Any]) -> str:
    """Write the product with what it is and what made it; returns the digest of its content."""
    facts = product.facts()
    return save_tensors(path, product.tensors(), {"schema": SCHEMA, "kind": kind, "facts": facts, **about})


def load_product(path: Path | str, device: torch.device | str = "cpu", digest: str | None = None) -> Any:
    """The product in a file, in the folder of a product, or of a run that measured it (``products/`` beside
    ``runs/``).

    A `SyntheticSet`, a `Classifier` or `ReducedMixtures`, its tensors on `device`. UserError, one line, for a
    file that is missing, damaged, or no product of this layout.
    """
    about, found = describe(path)
    if digest not in (None, found):
        raise UserError(f"{path}: is another product than when this run was planned")
    file, _ = _file_of(Path(path).resolve())
    try:
        tree = load_tensors(file, digest=found)
        return product_class(about["kind"]).from_tensors(tree, torch.device(device))
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except Damaged as damage:
        raise UserError(f"{damage}; was it made by an earlier version?") from None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(f"{file}: no whole product of this version") from None


def describe(path: Path | str) -> tuple[dict[str, Any], str]:
    """What the file of a product says of itself (`kind`, `facts`, what made it), and the digest of its
    content; places and errors as of `load_product`. The content is not looked at."""
    file, digest = _file_of(Path(path).resolve())
    try:
        header = read_header(file)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such product") from None
    except Damaged as damage:
        raise UserError(f"{damage}; was it made by an earlier version?") from None
    about = header["about"]
    if not isinstance(about, dict) or about.get("schema") != SCHEMA or "kind" not in about:
        raise UserError(f"{file}: no product of this version")
    return about, digest or str(header["digest"])


def _file_of(path: Path) -> tuple[Path, str | None]:
    """The product's file, and the digest that the record beside it, if there is one, says."""
    if path.is_file():
        return path, None
    if (path / "result.json").is_file() and not (path / RECORD).is_file():
        product = _record(path / "result.json").get("product")
        if not isinstance(product, dict):
            raise UserError(f"{path}: a run of an earlier layout, whose product stands in it; run it again")
        path = (path / str(product.get("path", ""))).resolve()
    if not path.is_dir():
        raise UserError(
            f"{path}: there is no such product; want its file, its folder, or the folder of a run"
        )
    if not (path / RECORD).is_file():
        raise UserError(f"{path}: holds no {RECORD}, so no whole product")
    record = _record(path / RECORD)
    name = Path(str(record.get("file", ""))).name
    return path / (name or "no file is named"), str(record.get("digest"))


def _record(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(content, dict)
    except (ValueError, AssertionError):
        raise UserError(f"{file}: not a whole record") from None
    return content
