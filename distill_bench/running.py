"""What the shared rooms may use of the run they work for: machine, randomness, loops, curves, cached
parts."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_bench import seeding
from distill_bench.errors import UserError
from distill_bench.interrupt import Interrupt
from distill_bench.progress import Phase, progress_bar
from distill_bench.store import Cache, Checkpoints
from distill_bench.tracking import Tracker

if TYPE_CHECKING:
    import torch

__all__ = ["Run"]


@dataclass(kw_only=True)
class Run:
    """One making or measuring of something, on one device, in one folder."""

    device: torch.device
    seed: int
    cache: Cache
    checkpoints: Checkpoints
    tracker: Tracker
    interrupt: Interrupt
    checkpoint_seconds: float = 30.0
    log_every: int = 20  # steps between the points of a curve

    @property
    def folder(self) -> Path:
        """Where files of the work in progress lie; what is left there when it ends is kept."""
        return self.checkpoints.folder

    def generator(self, *purpose: str | int, device: torch.device | str | None = None) -> torch.Generator:
        """A generator on `device` (the run's, if None) that follows from the run's seed and `purpose`."""
        return seeding.generator(self.seed, *purpose, device=device or self.device)

    def say(self, line: str) -> None:
        """Tell the user something, on standard error."""
        print(line, file=sys.stderr, flush=True)

    def loop(
        self, name: str, total: int, state: dict[str, Any], phase: Phase | None = None, networks: int = 1
    ) -> Iterator[int]:
        """Count the steps 0 .. total-1 of a resumable loop, with progress.

        `state` is everything that the loop changes: tensors (changed in place), objects with `state_dict` and
        `load_state_dict`, or plain values. If this run was stopped inside the loop, the state is put back and
        the count goes on from there, and so do the curves. The state is saved between steps every
        `checkpoint_seconds`, when Ctrl-C or the time limit asks to stop (then `Interrupted` is raised), and
        at the end. Randomness inside must follow from the step. No two loops of one run share a name.
        Progress is that of the `phase`, if the loop is a part of one, which trains `networks` of it.
        """
        start = self._restored(name, state)
        if 0 < start < total:
            self.say(f"{name}: going on from step {start} of {total}")
        if start < total:
            self.tracker.rewind()
        last = time.monotonic()
        shown = phase.part(networks, total, start) if phase else progress_bar(name, total, start)
        with shown as bar:
            for step in range(start, total):
                if self.interrupt.requested or self.interrupt.at_limit:
                    self._save(name, step, state)
                    self.interrupt.check(f"{name} {step}/{total}")
                if time.monotonic() - last >= self.checkpoint_seconds:
                    self._save(name, step, state)
                    last = time.monotonic()
                with self.interrupt.deferred():
                    yield step
                bar.update(step + 1)
        if start < total:
            self._save(name, total, state)

    def log(self, phase: str, step: int, **values: torch.Tensor | float) -> None:
        """Add one point to the curves of `phase`, every `log_every` steps; tensors are read only then.

        UserError for a value that is not finite: nothing that follows from it would mean anything.
        """
        if step % self.log_every:
            return
        numbers = {name: float(value) for name, value in values.items()}
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise UserError(
                    f"{phase} step {step}: {name}={number}: the run diverged; {self._kept(phase)}"
                )
        self.tracker.log(phase, step, numbers)

    def cached(
        self, kind: str, parts: Mapping[str, Any], make: Callable[[Run], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The tree of tensors that `make` gives for `parts`: made once, and shared by all runs.

        `parts` is everything that the tree depends on, as JSON. `make` receives a `Run` of the part's own:
        its loops are resumed by whichever process asks for the part next, and its curves are kept with the
        part. They join this run's curves, whoever made the part.
        """

        def made(folder: Path) -> tuple[Mapping[str, Any], Path]:
            tracker = Tracker(folder / "metrics.jsonl", mirror=self.tracker.mirror)
            part = Run(
                device=self.device,
                seed=self.seed,
                cache=self.cache,
                checkpoints=Checkpoints(folder, {"kind": kind}),
                tracker=tracker,
                interrupt=self.interrupt,
                checkpoint_seconds=self.checkpoint_seconds,
                log_every=self.log_every,
            )
            tree = make(part)
            tracker.rewind()
            return tree, tracker.path

        tree = self.cache.resumable(kind, parts, made)
        self.tracker.replay(self.cache.curves(kind, parts))
        return tree

    def _restored(self, name: str, state: dict[str, Any]) -> int:
        """Put the last saved state of the loop into `state`; the step from which it goes on."""
        saved = self.checkpoints.load(name)
        if saved is None:
            return 0
        _restore(state, saved["state"])
        self.tracker.position = saved["points"]
        step: int = saved["step"]
        return step

    def _save(self, name: str, step: int, state: dict[str, Any]) -> None:
        """Keep `state`, unless it holds a value that is not finite: then a UserError, and the last one
        stays."""
        content = _capture(state)
        if not _finite(content):
            raise UserError(
                f"{name} step {step}: its state is not finite: the run diverged; {self._kept(name)}"
            )
        self.checkpoints.save(name, {"step": step, "state": content, "points": self.tracker.position})

    def _kept(self, name: str) -> str:
        saved = self.checkpoints.load(name)
        state = (
            f"the last good state is that of step {saved['step']}, in {self.folder}"
            if saved
            else "nothing was saved"
        )
        return f"a lower rate may help ({state})"


def _capture(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.state_dict() if hasattr(value, "state_dict") else value for key, value in state.items()
    }


def _finite(tree: Any) -> bool:
    """Whether every floating-point tensor of a tree is finite everywhere; one look at the device a tensor."""
    import torch

    if isinstance(tree, torch.Tensor):
        return not tree.is_floating_point() or bool(torch.isfinite(tree).all())
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else []
    return all(_finite(child) for child in children)


def _restore(state: dict[str, Any], saved: dict[str, Any]) -> None:
    """Put saved values back: tensors in place, so that views and optimisers keep pointing at them."""
    import torch

    for key, value in state.items():
        if hasattr(value, "load_state_dict"):
            value.load_state_dict(saved[key])
        elif isinstance(value, torch.Tensor):
            with torch.no_grad():
                value.copy_(saved[key])
        else:
            state[key] = saved[key]
