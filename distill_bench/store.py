"""Where results live: folders of products and of runs, their checkpoints, and a content-addressed cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from distill_bench.files import Damaged, load_tensors, move, save_tensors, sweep, write_json

__all__ = ["Cache", "Checkpoints", "Folder", "content_key", "held"]


def content_key(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that follow from the content of `parts` (JSON, keys sorted)."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def say(line: str) -> None:
    """Tell the user something, on standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def held(file: Path, what: str) -> Iterator[None]:
    """Hold the lock `file` while inside; if another process holds it, say so and wait."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"waiting for {what}: another process is making it ({file.parent})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Checkpoints:
    """The saved states of loops in one folder. `about` says what they belong to: others are not gone on
    from."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about = dict(about)

    def save(self, loop: str, content: Mapping[str, Any]) -> None:
        """Keep `content` in place of what was saved of `loop` before."""
        save_tensors(self._path(loop), content, {**self.about, "loop": loop})

    def load(self, loop: str) -> dict[str, Any] | None:
        """What was last saved of `loop`, or None; one that is damaged, or belongs to something else, is
        named."""
        try:
            return load_tensors(self._path(loop), {**self.about, "loop": loop})
        except FileNotFoundError:
            return None
        except Damaged as damage:
            say(f"{damage}: starting {loop} anew")
            return None

    def forget(self) -> None:
        """Delete all of them, and what a killed process left of one."""
        sweep(self.folder)
        for file in self.folder.glob("checkpoint-*.safetensors"):
            file.unlink(missing_ok=True)

    @staticmethod
    def owns(file: Path) -> bool:
        """Whether a file is a checkpoint, or what a killed process left of one."""
        return file.name.startswith((".", "checkpoint-"))

    def _path(self, loop: str) -> Path:
        return self.folder / f"checkpoint-{loop}.safetensors"


class Folder:
    """The folder of one product or run: its record (a JSON file), its files, and the work in progress.

    The work lies in `unfinished/` until it is whole. So what was there before stays until then, a killed
    process leaves nothing beside it, and the same command goes on from there.
    """

    def __init__(self, root: Path, name: str, record: str) -> None:
        self.name = name
        self.path = root / name
        self.record_file = self.path / record
        self.work = self.path / "unfinished"

    @contextmanager
    def held(self, what: str) -> Iterator[None]:
        """Keep other processes from working in this folder; wait for one that already does."""
        with held(self.path / ".lock", what):
            yield

    def record(self) -> dict[str, Any] | None:
        """The record as it was written, or None while there is none. `Damaged` for one that is not whole."""
        try:
            content = json.loads(self.record_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError, IsADirectoryError):
            raise Damaged(f"{self.record_file}: not a whole record") from None
        if not isinstance(content, dict):
            raise Damaged(f"{self.record_file}: not a record")
        return content

    def forced(self) -> bool:
        """Whether the work in progress is a making anew that was asked for and stopped."""
        return (self.work / "forced").is_file()

    def begin(self, *, anew: bool = False) -> None:
        """Open the work. With `anew`, what an earlier attempt left is dropped, unless that too was one
        anew."""
        if anew and not self.forced():
            shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        sweep(self.path)
        sweep(self.work)
        if anew:
            (self.work / "forced").touch()

    def finish(self, record: Mapping[str, Any]) -> None:
        """Move the files of the work into the folder, the record last, and drop what only the work needs.

        Until the record is in place the checkpoints stay: a process that is stopped here loses nothing.
        """
        written = self.work / self.record_file.name
        write_json(written, record)
        for file in sorted(self.work.iterdir()):
            if file != written and file.name != "forced" and not Checkpoints.owns(file):
                move(file, self.path / file.name)
        (self.work / "forced").unlink(missing_ok=True)
        move(written, self.record_file)
        shutil.rmtree(self.work, ignore_errors=True)


class Cache:
    """Expensive parts, addressed by their content: made once, even by concurrent processes, verified when
    read."""

    def __init__(self, root: Path, say: Callable[[str], None] = say) -> None:
        self.root = root
        self.say = say

    def get(
        self, kind: str, parts: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The tree of tensors that `make` gives for `parts`, from the cache if it is there and whole.

        `parts` is everything the result depends on (resolved config, the data's fingerprint, seeds), as JSON.
        Other processes that want the same part meanwhile wait for this one. A file that is truncated, altered
        or made for other parts is named and remade. A cache that cannot be written is still read.
        """
        return self.resumable(kind, parts, lambda _: (make(), None))

    def resumable(
        self,
        kind: str,
        parts: Mapping[str, Any],
        make: Callable[[Path], tuple[Mapping[str, Any], Path | None]],
    ) -> dict[str, Any]:
        """As `get`, where making takes long: `make` receives a folder for its checkpoints.

        A later process finds the folder again if this one is stopped. `make` gives the tree, and the file of
        its curves if it has any, which is kept with the part.
        """
        path = self.path(kind, parts)
        about = {"kind": kind, **parts}
        with contextlib.suppress(FileNotFoundError, Damaged):
            return load_tensors(path, about)
        with held(path.with_suffix(".lock"), kind):
            try:
                return load_tensors(path, about)
            except FileNotFoundError:
                pass
            except Damaged as damage:
                self.say(f"cache: {damage}: making it anew")
            started = time.perf_counter()
            work = path.with_suffix(".work")
            work.mkdir(parents=True, exist_ok=True)
            sweep(path.parent, path.stem)
            tree, curves = make(work)
            if curves is not None and curves.exists():
                move(curves, path.with_suffix(".jsonl"))
            save_tensors(path, tree, about)
            shutil.rmtree(work, ignore_errors=True)
            self.say(f"cache: made {kind} in {time.perf_counter() - started:.1f} s ({path})")
            return load_tensors(path, about)

    def path(self, kind: str, parts: Mapping[str, Any]) -> Path:
        """Where the part lies, whether or not it has been made."""
        return self.root / kind / f"{content_key({'kind': kind, **parts})}.safetensors"

    def curves(self, kind: str, parts: Mapping[str, Any]) -> Path:
        """Where the curves of the part's making lie, if it has any."""
        return self.path(kind, parts).with_suffix(".jsonl")
