"""Where results live: one folder per run, and a content-addressed cache of expensive parts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from distill_bench.errors import UserError
from distill_bench.files import Damaged, load_tensors, save_tensors, write_json

__all__ = ["Cache", "RunFolder", "content_key"]


def content_key(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that follow from the content of `parts` (JSON, keys sorted)."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunFolder:
    """The folder of one run: config, curves, checkpoints, artifacts, and at the end `result.json`."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = root / run_id

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working in this folder; a UserError if one already does."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"run {self.run_id}: another process is making it (folder {self.path})") from None
        try:
            yield
        finally:
            lock.release()

    def result(self) -> dict[str, Any] | None:
        """The finished run's result, or None while it is not whole."""
        try:
            content = json.loads((self.path / "result.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return content if content.get("run_id") == self.run_id else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, then drop what only an unfinished run needs."""
        write_json(self.path / "result.json", result)
        self.forget("checkpoint-*.safetensors")

    def restart(self) -> None:
        """Forget everything that an earlier attempt left."""
        self.forget("result.json", "checkpoint-*.safetensors", "metrics.jsonl")

    def forget(self, *patterns: str) -> None:
        """Delete the files of this folder that match."""
        for pattern in patterns:
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)

    def save_checkpoint(self, loop: str, step: int, state: Mapping[str, Any]) -> None:
        """Keep `state` as it stands before `step` of `loop`, in place of the last one."""
        save_tensors(
            self._checkpoint(loop), {"step": step, "state": state}, {"run": self.run_id, "loop": loop}
        )

    def load_checkpoint(self, loop: str) -> tuple[int, dict[str, Any]] | None:
        """(step, state) as last saved, or None; a damaged checkpoint is named, dropped and not trusted."""
        try:
            saved = load_tensors(self._checkpoint(loop), {"run": self.run_id, "loop": loop})
        except FileNotFoundError:
            return None
        except Damaged as damage:
            print(f"{damage}: starting {loop} anew", flush=True)
            return None
        return saved["step"], saved["state"]

    def _checkpoint(self, loop: str) -> Path:
        return self.path / f"checkpoint-{loop}.safetensors"


class Cache:
    """Expensive parts, addressed by their content: made once, even by concurrent processes, verified when
    read."""

    def __init__(self, root: Path, say: Callable[[str], None] = print) -> None:
        self.root = root
        self.say = say

    def get(
        self, kind: str, parts: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The tree of tensors that `make` gives for `parts`, from the cache if it is there and whole.

        `parts` is everything the result depends on (resolved config, the data's fingerprint, seeds), as JSON.
        Other processes that want the same part meanwhile wait for this one. A file that is truncated, altered
        or made for other parts is named and remade.
        """
        path = self.path(kind, parts)
        about = {"kind": kind, **parts}
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            try:
                return load_tensors(path, about)
            except FileNotFoundError:
                pass
            except Damaged as damage:
                self.say(f"cache: {damage}: making it anew")
            started = time.perf_counter()
            save_tensors(path, make(), about)
            self.say(f"cache: made {kind} in {time.perf_counter() - started:.1f} s ({path})")
            return load_tensors(path, about)

    def path(self, kind: str, parts: Mapping[str, Any]) -> Path:
        """Where the part lies, whether or not it has been made."""
        return self.root / kind / f"{content_key({'kind': kind, **parts})}.safetensors"
