"""Synthetic images as one labelled picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill_bench.files import write_with

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont

__all__ = ["image_grid"]

_CLASSES, _IMAGES = 20, 10  # at most so many are shown
_GAP, _MARGIN, _FONT, _LINE = 4, 16, 15, 20  # pixels
_LABEL = 22  # letters of a class name


def image_grid(
    path: Path, images: np.ndarray, class_names: Sequence[str], title: str = "", what: str = ""
) -> None:
    """Write a PNG of `images` (K, n, C, H, W) in [0, 1], C 1 or 3: a row for each class, with its name.

    Above stand `title` and `what` is shown; if not given, how many images of how many classes. Shows the
    first 20 classes and the first 10 images of each, and says so when there are more. Where classes have few
    images, rows stand in several columns. Images under 48 pixels are enlarged by a whole number, so that
    pixels stay pixels; images over 128 are reduced to 128. Raises ValueError for another shape, or if there
    is not one name for each class.
    """
    from PIL import Image, ImageDraw

    if images.ndim != 5 or images.shape[2] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images of shape {images.shape}: must be (K, n, C, H, W) with C 1 or 3")
    if len(class_names) != len(images):
        raise ValueError(f"{len(class_names)} class names for {len(images)} classes")
    shown = images[:_CLASSES, :_IMAGES]
    tiles = [[_tile(image) for image in row] for row in shown]
    font, heads = _font(_FONT), [*filter(None, [title]), what or _title(images, shown)]
    names = [_short(str(name)) for name in class_names[:_CLASSES]]
    wide, high = tiles[0][0].size
    label = math.ceil(max(font.getlength(name) for name in names)) + 2 * _GAP
    block = label + shown.shape[1] * (wide + _GAP)
    columns = _columns(len(shown), block + _MARGIN, high + _GAP)
    lines = math.ceil(len(shown) / columns)
    heads = [line for head in heads for line in _fitted(head, font, columns * (block + _MARGIN) - _MARGIN)]
    top = _MARGIN + (len(heads) + 1) * _LINE - _LINE // 2
    longest = math.ceil(max(map(font.getlength, heads)))
    width = 2 * _MARGIN + max(columns * (block + _MARGIN) - _MARGIN, longest)
    canvas = Image.new("RGB", (width, top + lines * (high + _GAP) + _MARGIN - _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for line, head in enumerate(heads):
        colour = "black" if title and head != heads[-1] else "#555555"
        draw.text((_MARGIN, _MARGIN + line * _LINE), head, fill=colour, font=font)
    for index, (name, row) in enumerate(zip(names, tiles, strict=True)):
        column, line = divmod(index, lines)
        x, y = _MARGIN + column * (block + _MARGIN), top + line * (high + _GAP)
        draw.text((x + label - 2 * _GAP, y + high // 2), name, fill="black", font=font, anchor="rm")
        for place, tile in enumerate(row):
            canvas.paste(tile, (x + label + place * (wide + _GAP), y))
    write_with(path, lambda temporary: canvas.save(temporary, format="PNG"))


def _tile(image: np.ndarray) -> Picture:
    """One image (C, H, W) at the size at which it is shown."""
    import numpy as np
    from PIL import Image

    pixels = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    tile = Image.fromarray(
        np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))
    )
    side = max(tile.size)
    if side > 128:
        return tile.resize((tile.width * 128 // side, tile.height * 128 // side), Image.Resampling.LANCZOS)
    factor = math.ceil(48 / side)
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _columns(rows: int, width: int, height: int) -> int:
    """How many columns of rows make the picture somewhat wider than high, and leave few places empty."""

    def misfit(columns: int) -> float:
        lines = math.ceil(rows / columns)
        shape = columns * width / (lines * height)
        return abs(math.log(shape / 1.3)) + 2 * (columns * lines - rows) / rows

    return min(range(1, rows + 1), key=misfit)


def _title(images: np.ndarray, shown: np.ndarray) -> str:
    def part(number: int, total: int, what: str) -> str:
        return f"first {number} of {total} {what}" if number < total else f"{total} {what}"

    classes = part(len(shown), len(images), "classes" if len(images) > 1 else "class")
    each = part(shown.shape[1], images.shape[1], "images each" if images.shape[1] > 1 else "image each")
    return f"{classes}, {each}"


def _fitted(text: str, font: FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most `width` pixels, broken between its parts; a part is never cut."""
    lines = [""]
    for part in text.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if lines[-1] and font.getlength(longer) > max(width, 300):
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def _short(name: str) -> str:
    first = name.split(",")[0].strip() or name
    return first if len(first) <= _LABEL else f"{first[: _LABEL - 1]}…"


def _font(size: int) -> FreeTypeFont:
    """The font that comes with matplotlib: the same on every machine, with the letters of most scripts."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
    )
