"""Put a data set in place ahead of time: found or downloaded, checked, and decoded into the cache.

python scripts/prepare_data.py cifar10 [--data-root data] [--cache-root cache] [dataset.resolution=64 ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout comes first

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from distill_bench.catalogue import conf_dir, group_options
from distill_bench.errors import UserError, closest
from distill_bench.groups import DatasetConfig
from distill_bench.planning import typed

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one data set and describe it; 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="prepare_data.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", help=f"one of {', '.join(group_options('dataset'))}")
    parser.add_argument("overrides", nargs="*", metavar="dataset.KEY=VALUE", help="as for run.py")
    environment = {name: os.environ.get(f"DISTILL_BENCH_{name.upper()}", name) for name in ("data", "cache")}
    parser.add_argument(
        "--data-root", type=Path, default=Path(environment["data"]), help="default: %(default)s"
    )
    parser.add_argument(
        "--cache-root", type=Path, default=Path(environment["cache"]), help="default: %(default)s"
    )
    given = parser.parse_args(arguments)
    try:
        _prepare(_config(given.dataset, given.overrides), given.data_root, given.cache_root)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _config(name: str, overrides: Sequence[str]) -> DatasetConfig:
    """The data set's own config file, with overrides, typed."""
    known = group_options("dataset")
    if name not in known:
        raise UserError(f"dataset={name}: no such option; {closest(name, known)}")
    for word in overrides:
        if not (word.startswith("dataset.") and "=" in word):
            raise UserError(f"{word}: must be dataset.KEY=VALUE")
    try:
        given = OmegaConf.from_dotlist(list(overrides)).get("dataset", {})
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from None
    file = OmegaConf.load(conf_dir() / "dataset" / f"{name}.yaml")
    return typed(DatasetConfig, OmegaConf.merge(file, given), "dataset")


def _prepare(config: DatasetConfig, data_root: Path, cache_root: Path) -> None:
    from distill_bench.data.locate import locate

    location = locate(config, data_root)
    print(f"{config.name}: {location.layout.value}, {location.path}", flush=True)

    import torch

    from distill_bench import data
    from distill_bench.store import Cache

    started = time.perf_counter()
    dataset = data.load(config, data_root, Cache(cache_root), torch.device("cpu"))
    print(f"loaded in {time.perf_counter() - started:.1f} s, fingerprint {dataset.fingerprint}")
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        smallest, largest = (int(v) for v in split.class_counts.aminmax())
        print(
            f"{name}: {len(split)} images of {dataset.num_classes} classes, {smallest} to {largest} in each"
        )
    size = config.channels * config.resolution**2 * (len(dataset.train) + len(dataset.test))
    print(f"{config.channels} x {config.resolution} x {config.resolution}, {size / 2**20:.0f} MiB as bytes")
    if not config.streamed:
        for words, statistics in (
            ("all pixels", data.pixel_statistics),
            ("each image", data.per_image_statistics),
        ):
            mean, std = (" ".join(f"{v:.4f}" for v in row) for row in statistics(dataset.train.pixels(1024)))
            print(f"training statistics over {words}: mean {mean}, std {std}")


if __name__ == "__main__":
    raise SystemExit(main())
