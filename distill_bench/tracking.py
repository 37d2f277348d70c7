"""Curves and results: local files are the truth, Weights & Biases is a mirror that can never harm a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_bench.files import write_text

__all__ = ["Tracker", "WandbMirror"]


class Tracker:
    """Writes `metrics.jsonl` in the run's folder: one line per point, `{"phase", "step", <name>: value}`."""

    def __init__(self, folder: Path, mirror: WandbMirror | None = None) -> None:
        self.path = folder / "metrics.jsonl"
        self.mirror = mirror

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Add one point."""
        with self.path.open("a") as file:
            file.write(json.dumps({"phase": phase, "step": step, **values}) + "\n")
        if self.mirror:
            self.mirror.log(phase, step, values)

    def rewind(self, phase: str, step: int) -> None:
        """Drop the points of `phase` from `step` on, which a resumed run is about to make again."""
        kept = [point for point in self.points() if point["phase"] != phase or point["step"] < step]
        if self.path.exists():
            write_text(self.path, "".join(json.dumps(point) + "\n" for point in kept))

    def points(self) -> list[dict[str, Any]]:
        """All points; a last line cut off by a kill is left out."""
        points = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                points.append(json.loads(line))
            except ValueError:
                continue
        return points

    def picture(self, name: str, path: Path) -> None:
        """Show a picture that lies in the run's folder."""
        if self.mirror:
            self.mirror.picture(name, path)

    def finish(self, summary: Mapping[str, float]) -> None:
        """The run's measures, one number each."""
        if self.mirror:
            self.mirror.finish(summary)


class WandbMirror:
    """A Weights & Biases run beside the local files. Any failure is one warning, then silence.

    `mode` is W&B's: `offline` (no account needed, never prompts), `online`, or `disabled`.
    """

    def __init__(self, folder: Path, *, run_id: str, config: dict[str, Any], project: str, mode: str) -> None:
        self.run: Any = None
        self.failed = False

        def start() -> None:
            import wandb

            (folder / "wandb").mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(silent=True, console="off")
            self.run = wandb.init(
                project=project,
                mode=mode,
                dir=str(folder),
                id=run_id,
                name=run_id,
                config=config,  # type: ignore[arg-type]
                settings=settings,
                resume="allow" if mode == "online" else None,
                reinit="finish_previous",
            )

        self._guard(start)

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Mirror one point; each phase has its own step axis."""
        named = {f"{phase}/{name}": value for name, value in values.items()}
        self._guard(lambda: self.run.log({**named, f"{phase}/step": step}))

    def picture(self, name: str, path: Path) -> None:
        """Mirror a picture."""

        def send() -> None:
            import wandb

            self.run.log({name: wandb.Image(str(path))})

        self._guard(send)

    def finish(self, summary: Mapping[str, float]) -> None:
        """Mirror the summary and close the run."""

        def close() -> None:
            self.run.summary.update(dict(summary))
            self.run.finish()

        self._guard(close)

    def _guard(self, action: Callable[[], object]) -> None:
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # a mirror must never harm the run, whatever its library raises
            self.failed = True
            print(f"wandb: {type(error).__name__}: {error}; going on without it", file=sys.stderr, flush=True)
