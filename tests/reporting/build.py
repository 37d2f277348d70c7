"""Result files as the runner writes them, made up: for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from distill_bench.reporting import image_grid
from distill_bench.store import content_key

CPU = "cpu (2 threads, Example CPU)"


def measure(name: str, *values: float, **facets: str) -> dict[str, Any]:
    """One measure as a result file holds it."""
    return {"name": name, "values": list(values), "facets": facets}


def content(
    method: str, cell: dict[str, Any], measures: list[dict[str, Any]], seed: int = 0, **method_config: Any
) -> dict[str, Any]:
    """The content of a result file.

    `cell` is what `images`, `classifier` or `mixture` give; `method_config` are fields of the
    method's Config.
    """
    axes = cell["axes"]
    tasks = {"mixture": "mixture_reduction", "trainset": "classification"}
    task = next((task for axis, task in tasks.items() if axis in axes), "dataset_distillation")
    config = {"method": {"name": method, **method_config}, **cell}
    place = "_".join(
        str(axes[key]) for key in ("dataset", "mixture", "ipc", "target", "student") if key in axes
    )
    key = content_key({**config, "seed": seed})
    return {
        "schema": 2,
        "run_id": f"{method}_{place}_seed{seed}_{key[:8]}",
        "cell_id": content_key(config),
        "status": "done",
        "task": task,
        "method": method,
        "paper": f"Authors of {method}, Venue 2023",
        "summary": f"What {method} does in one line",
        **cell,
        "seed": seed,
        "config": {**config, "seed": seed},
        "product": {"id": key, "digest": f"sha256:{key}", "artifacts": {}},
        "measures": measures,
        "artifacts": {},
        "provenance": {
            "command": f"python run.py method={method} seed={seed}",
            "started": "2026-11-20T10:00:00+00:00",
            "seconds": 12.3,
            "device": CPU,
            "python": "3.11.7",
            "torch": "2.15.0",
            "distill_bench": "0.1.0",
            "commit": "abc1234",
            "data_fingerprint": "" if "mixture" in axes else "feedbeef",
        },
    }


def images(
    dataset: str = "cifar10",
    ipc: int = 1,
    distiller: str = "convnet",
    *,
    protocol: str = "dc",
    profile: str = "paper",
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A cell of dataset distillation."""
    axes = {"dataset": dataset, "ipc": ipc, "distiller": distiller}
    return {"axes": axes, "protocol": protocol, "profile": profile, "settings": settings or {}}


def classifier(
    student: str = "mlp",
    teacher: str = "none",
    trainset: str = "full",
    dataset: str = "digits",
    *,
    profile: str = "paper",
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A cell of classification."""
    axes = {"dataset": dataset, "trainset": trainset, "teacher": teacher, "student": student}
    return {"axes": axes, "protocol": "", "profile": profile, "settings": settings or {}}


def mixture(target: int = 5, mixture: str = "classic", dimension: int = 1) -> dict[str, Any]:
    """A cell of mixture reduction."""
    axes = {"mixture": mixture, "dimension": dimension, "components": 10, "target": target}
    return {"axes": axes, "protocol": "", "profile": "paper", "settings": {}}


def write(root: Path, result: dict[str, Any], *, points: list[dict[str, Any]] | None = None) -> Path:
    """Put a result (and its curves) into its run's folder under `root`; the folder."""
    folder = root / result["run_id"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))
    if points:
        write_points(folder, points)
    return folder


def write_points(folder: Path, points: list[dict[str, Any]]) -> None:
    """Put curves into the folder of a run or a product."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))


def add_picture(root: Path, result: dict[str, Any], pixels: np.ndarray, names: list[str]) -> Path:
    """Give a result a picture of its product, in the product's folder beside the runs under `root`."""
    result["product"]["artifacts"] = {"picture": "synthetic.png", "product": "synthetic.safetensors"}
    folder = root.parent / "products" / result["product"]["id"]
    image_grid(folder / "synthetic.png", pixels, names)
    return folder


def fall(phase: str, name: str, steps: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A curve that falls like a loss."""
    values = 30 * np.exp(-np.arange(steps) / (steps / 4)) + 2 + rng.normal(0, 0.3, steps)
    return [{"phase": phase, "step": 20 * step, name: float(value)} for step, value in enumerate(values)]


def realistic(root: Path, *, seeds: int = 3) -> None:
    """Runs of both tasks: five methods on two data sets at three sizes, five methods of mixture reduction."""
    rng = np.random.default_rng(0)
    scores = {
        "random": (60, 14.4, 26.0, 43.4),
        "herding": (72, 20, 31, 40),
        "kcenter": (66, 16, 19, 29),
        "dm": (80, 25, 48, 62),
        "datadam": (84, 33.5, 53, 66.5),
    }
    for method, (digits, *cifar) in scores.items():
        for seed in range(seeds):
            for index, ipc in enumerate((1, 10, 50)):
                for dataset, profile in (("digits", "fast"), ("cifar10", "paper")):
                    base = digits + 6 * index if dataset == "digits" else cifar[index]
                    accuracy = measure("accuracy", *rng.normal(base, 1.2, 5), student="convnet")
                    ceiling = measure(
                        "full_data_accuracy", 97.8 if dataset == "digits" else 84.5, student="convnet"
                    )
                    result = content(method, images(dataset, ipc, profile=profile), [accuracy, ceiling], seed)
                    result["provenance"]["seconds"] = float(20 * (index + 1) + seed)
                    if seed == 0:
                        shape = (10, ipc, 1, 8, 8) if dataset == "digits" else (10, ipc, 3, 32, 32)
                        names = [f"class {i}" for i in range(10)]
                        product = add_picture(root, result, _pictures(rng, shape), names)
                        few = ipc == 10  # curves take long to draw
                        write_points(product, fall("distil", "loss", 60, rng) if few else [])
                        points = fall("evaluate convnet", "train_loss", 40, rng) if few else None
                        write(root, result, points=points)
                    else:
                        write(root, result)
    for factor, method in enumerate(["best_partition", "oggmr", "williams", "runnalls", "west"], start=1):
        for target in (5, 4, 3):
            for cell in (mixture(target), mixture(target, mixture="random", dimension=4)):
                draws = 1 if cell["axes"]["mixture"] == "classic" else 100
                distance = 0.03 * factor * (8 - target) + rng.normal(0, 0.004, draws)
                measures = [
                    measure("distance", *distance),
                    measure("ise", *(distance**2 / 2)),
                    measure("seconds", 0.004 * factor**3),
                ]
                write(root, content(method, cell, measures))


def _pictures(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Soft blobs, one kind for each class."""
    classes, each, channels, high, wide = shape
    y, x = np.mgrid[0:high, 0:wide] / high
    centre = rng.uniform(0.2, 0.8, (classes, each, channels, 2, 1, 1))
    blobs = np.exp(-((x - centre[..., 0, :, :]) ** 2 + (y - centre[..., 1, :, :]) ** 2) * 12)
    return np.clip(blobs + rng.normal(0, 0.05, shape), 0, 1)
