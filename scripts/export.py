"""Write a synthetic set as image files, a folder a class. `python scripts/export.py --help`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout comes first

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Read the command line `argv` (this process's own, if None) and write the images of one set."""
    parser = argparse.ArgumentParser(
        description="Write the images of a synthetic set as PNG files, OUT/<class>/<number>.png. Generated "
        "and real images keep their bytes; learned ones are clipped to what a file can hold and rounded."
    )
    parser.add_argument("source", type=Path, help="the folder of a run or a product, or its file")
    parser.add_argument("out", type=Path, help="a new folder")
    options = parser.parse_args(argv)

    import distill_bench
    from distill_bench.errors import UserError
    from distill_bench.products import SyntheticSet

    try:
        made = distill_bench.load(options.source)
        if not isinstance(made, SyntheticSet):
            raise UserError(f"{options.source}: holds no synthetic set")
        if options.out.exists():
            raise UserError(f"{options.out}: is there already; want a new folder")
        count = _write(made, options.out)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{count} images: {options.out}")


def _write(made: Any, out: Path) -> int:
    """One file an image, numbered within its class; how many there are."""
    from PIL import Image

    pixels = (made.pixels() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    numbers = [0] * len(made.class_names)
    for image, label in zip(pixels, made.labels.tolist(), strict=True):
        folder = out / made.class_names[label].replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(folder / f"{numbers[label]:04d}.png")
        numbers[label] += 1
    return len(pixels)


if __name__ == "__main__":
    main()
