"""IDX files, the format of MNIST and its relatives: a header of sizes, then bytes. Gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from distill_bench.errors import UserError

__all__ = ["read_idx"]

UNSIGNED_BYTE = 0x08


def read_idx(folder: Path, name: str) -> torch.Tensor:
    """The uint8 tensor in `folder/name` or `folder/name.gz`.

    Format: two zero bytes, the type, the number of axes, each axis as a big-endian int32, the values.
    UserError, naming the file, if it is absent or not whole.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"{folder / name}[.gz]: missing")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error})") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise UserError(f"{path}: not an IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">i4").tolist()
    if len(content) - start != math.prod(shape):
        raise UserError(f"{path}: holds {len(content) - start} bytes; its header says {shape}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).copy()).view(shape)
