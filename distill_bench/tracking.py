"""Curves and results: local files are the truth, Weights & Biases is a mirror that can never harm a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_bench.files import write_text

_LAST_STEP = 2**53  # beyond it a step is damage

__all__ = ["Tracker", "WandbMirror", "read_points"]


class Tracker:
    """Writes curves to a `metrics.jsonl`: one line per point, ``{"phase", "step", <name>: value}``.

    `position` counts the points that belong to the run as it stands. What lies behind it in the file was
    written by a process that was stopped, and is about to be made again.
    """

    def __init__(self, path: Path, mirror: WandbMirror | None = None) -> None:
        self.path = path
        self.mirror = mirror
        self.position = 0
        self._exact = False  # whether the file holds `position` points

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Add one point."""
        if not self._exact:
            self.rewind()
        self._append([{"phase": phase, "step": step, **values}])
        if self.mirror:
            self.mirror.log(phase, step, values)

    def replay(self, curves: Path) -> None:
        """Add the points of another file: those of a cached part that this run was made from."""
        points = read_points(curves)
        if points and not self._exact:
            present = read_points(self.path)
            if present[self.position : self.position + len(points)] == points:
                self.position += len(points)  # they are there already, and later ones may follow
                return
            self.rewind()
        self._append(points)

    def rewind(self) -> None:
        """Drop the points behind `position`."""
        points = read_points(self.path)
        if self.path.exists() and (len(points) != self.position or not _ends_whole(self.path)):
            write_text(self.path, "".join(json.dumps(point) + "\n" for point in points[: self.position]))
        self._exact = True

    def points(self) -> list[dict[str, Any]]:
        """All points in the file; see `read_points`."""
        return read_points(self.path)

    def _append(self, points: list[dict[str, Any]]) -> None:
        if not points:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(point) + "\n" for point in points))
        self.position += len(points)

    def mirror_points(self) -> None:
        """Mirror all points of the file, which was written before."""
        for point in self.points() if self.mirror else ():
            values = {name: value for name, value in point.items() if name not in ("phase", "step")}
            self.mirror.log(point["phase"], point["step"], values)  # type: ignore[union-attr]

    def picture(self, name: str, path: Path) -> None:
        """Show a picture that lies in the run's folder."""
        if self.mirror:
            self.mirror.picture(name, path)

    def show_pictures(self, folder: Path, artifacts: Mapping[str, str]) -> None:
        """Show those artifacts (role -> file name in `folder`) that are pictures."""
        for role, name in artifacts.items():
            if name.endswith(".png"):
                self.picture(role, folder / name)

    def finish(self, summary: Mapping[str, float]) -> None:
        """The run's measures, one number each."""
        if self.mirror:
            self.mirror.finish(summary)


def read_points(file: Path, warn: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """The points of a file of curves: objects with a text `phase` and a whole number `step`.

    Other lines, such as one cut off by a kill, are left out; there are none if there is no file. A file that
    cannot be read, or is no text, is named in one line given to `warn`.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        if warn:
            warn(f"skipped {file}: {error}")
        return []
    text = content.decode(encoding="utf-8", errors="replace")
    if warn and "\ufffd" in text:
        warn(f"{file}: not a text file; what is no point of a curve is left out")
    lines = text.splitlines()
    return [point for line in lines if _is_point(point := _value(line))]


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_point(point: Any) -> bool:
    if not isinstance(point, dict) or not isinstance(point.get("phase"), str):
        return False
    step = point.get("step")
    return isinstance(step, int) and not isinstance(step, bool) and abs(step) <= _LAST_STEP


def _ends_whole(file: Path) -> bool:
    content = file.read_bytes()
    return not content or content.endswith(b"\n")


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
                mode=mode,  # type: ignore[arg-type]
                dir=str(folder),
                id=run_id,
                name=run_id,
                config=config,
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
            place = "" if self.run.offline else self.run.url
            folder = Path(self.run.dir).parent
            self.run.finish()
            print(
                f"wandb: {place or f'offline, in {folder}; wandb sync {folder} uploads it'}", file=sys.stderr
            )

        self._guard(close)

    def _guard(self, action: Callable[[], object]) -> None:
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # a mirror must never harm the run, whatever its library raises
            self.failed = True
            print(f"wandb: {type(error).__name__}: {error}; going on without it", file=sys.stderr, flush=True)
