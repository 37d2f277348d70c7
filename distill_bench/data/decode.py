"""Image files to arrays of one size, many at once. Imports no torch, so that worker processes start quickly.

Legend: N images, C channels, H = W = side pixels.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from distill_bench.errors import UserError
from distill_bench.progress import progress_bar

__all__ = ["DECODER", "Shape", "cpus", "decode", "decode_all", "decode_files"]

DECODER = 2  # raised when `decode` gives other pixels than before, so that cached ones are made anew
CHUNK = 256  # files a worker decodes at a time
FEW = 4000  # up to so many files, worker processes cost more than they save
BITS_PER_SAMPLE = 258  # the TIFF tag


@dataclass(frozen=True)
class Shape:
    """The form of decoded files (C x side x side), and the height and width that each must have, if any."""

    channels: int
    side: int
    native: int | None = None


def decode(path: str, shape: Shape) -> np.ndarray:
    """One image file as uint8 (C, side, side).

    The image is turned upright, as its EXIF orientation says. 16-bit grey is scaled to 8 bits: the value over
    257, rounded. Transparent pixels are blended over white. Then the image becomes grey or RGB by the number
    of channels, its shorter side is scaled to `side` (bilinear, antialiased), and its centre is cropped.

    Raises UserError, naming the file, if it is not a whole image, is of more than 16 bits or of
    floating-point numbers, or has not `shape.native` pixels a side.
    """
    try:
        with Image.open(path) as file:
            file.load()
            image = _over_white(_eight_bits(_upright(file), path))
            image = image.convert("L" if shape.channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a whole image ({error})") from None
    width, height = image.size
    if shape.native and (width, height) != (shape.native, shape.native):
        raise UserError(f"{path}: is {width}x{height} pixels; must be {shape.native}x{shape.native}")
    pixels = np.asarray(_resized(image, shape.side))
    return pixels[None] if shape.channels == 1 else pixels.transpose(2, 0, 1)


def decode_files(paths: Sequence[str], shape: Shape) -> np.ndarray:
    """Several files, one after another: uint8 (N, C, side, side)."""
    images = np.empty((len(paths), shape.channels, shape.side, shape.side), np.uint8)
    for i, path in enumerate(paths):
        images[i] = decode(path, shape)
    return images


def decode_all(name: str, paths: Sequence[str], shape: Shape) -> np.ndarray:
    """All files, in order, with progress: uint8 (N, C, side, side).

    Many files are shared out to worker processes: with images this small, threads mostly wait for the
    interpreter's lock (measured on CIFAR-10 and Tiny ImageNet).
    """
    images = np.empty((len(paths), shape.channels, shape.side, shape.side), np.uint8)
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    count = 0
    with progress_bar(name, len(paths)) as bar:
        for chunk in _decoded(chunks, shape, workers=cpus() if len(paths) > FEW else 1):
            images[count : count + len(chunk)] = chunk
            count += len(chunk)
            bar.update(count)
    return images


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decoded(chunks: Sequence[Sequence[str]], shape: Shape, workers: int) -> Iterator[np.ndarray]:
    if workers == 1 or multiprocessing.current_process().daemon:  # daemons may have no children
        yield from map(decode_files, chunks, repeat(shape))
        return
    # spawned, not forked: the parent has threads; interrupts are the parent's to handle
    context = multiprocessing.get_context("spawn")
    ignore = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=signal.signal, initargs=ignore)
    try:
        yield from pool.map(decode_files, chunks, repeat(shape))
    finally:
        pool.shutdown(cancel_futures=True)


def _upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF orientation says; unreadable EXIF says nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return image
    return image if orientation == 1 else ImageOps.exif_transpose(image)


def _eight_bits(image: Image.Image, path: str) -> Image.Image:
    """Grey of 16 bits as grey of 8 bits, other images unchanged; UserError for deeper ones."""
    allowed = "8-bit images and 16-bit grey are allowed"
    if image.mode == "F":
        raise UserError(f"{path}: holds floating-point numbers (mode F); {allowed}")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    if bits > 16 or values.min() < 0 or values.max() > 65535:
        span = f"{bits} bits, {values.min()} to {values.max()}"
        raise UserError(f"{path}: holds integers beyond 16 bits (mode {image.mode}; {span}); {allowed}")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    """The image over a white ground, where any pixel is transparent; else unchanged."""
    if not image.has_transparency_data:
        return image
    layers = image.convert("RGBA")
    if layers.getchannel("A").getextrema() == (255, 255):
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers)


def _resized(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if (width, height) == (side, side):
        return image
    short, long = min(width, height), max(width, height)
    longer = int(side * long / short)
    width, height = (side, longer) if width <= height else (longer, side)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))
