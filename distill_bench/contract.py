"""What a method, a task and the runner promise one another. Nothing heavy is imported here.

A method is a module `distill_bench/methods/<task>/<name>.py` with

* `Config`: a keyword-only dataclass, one commented field per hyper-parameter, checked in `__post_init__`;
* `INFO`: a `MethodInfo`;
* `run(ctx, cfg)`: makes the task's product;
* `work(ctx, cfg)`, if it has long parts: a list of `Work`, from which a run's time is foretold.

A task is a module `distill_bench/tasks/<task>.py` with `run(ctx, method, cfg) -> Outcome`: it has the method
make its product, measures it, and leaves artifacts in the run's folder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from distill_bench import groups, seeding
from distill_bench.errors import UserError
from distill_bench.interrupt import Interrupt, Interrupted
from distill_bench.metrics import Measure
from distill_bench.progress import progress_bar
from distill_bench.store import Cache, RunFolder
from distill_bench.tracking import Tracker

if TYPE_CHECKING:
    import torch

    from distill_bench.data import ImageDataset

__all__ = ["Context", "Method", "MethodInfo", "Outcome", "SyntheticSet", "Work"]


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """Facts about a method, for help texts and checks."""

    task: str  # a module of distill_bench.tasks
    paper: str  # authors, venue and arXiv id, or "baseline"
    summary: str  # one line
    uses: tuple[str, ...]  # the config groups that change its result; setting any other is an error


class Method(Protocol):
    """A method's module, as the runner and the tasks see it."""

    Config: type
    INFO: MethodInfo

    def run(self, ctx: Context, cfg: Any) -> Any:
        """Make the product of the method's task."""
        ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """A long part of a run, known before it starts: what it is, and what it costs."""

    name: str  # e.g. "distil"
    what: str  # e.g. "20000 steps x 2560 images"
    student_images: float = 0.0  # images through the run's student; a pass back counts as two more
    generator_images: float = 0.0  # the same through the generator's network
    seconds: float = 0.0  # where time itself is the budget


@dataclass(frozen=True)
class SyntheticSet:
    """The product of dataset distillation: `images` (N, C, H, W), normalised as the data set, and hard
    `labels` (N,), on one device; class by class, IPC images each. A method may add what it measured itself,
    and files that it left in the run's folder (role -> name)."""

    images: torch.Tensor
    labels: torch.Tensor
    measures: tuple[Measure, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    lr: float | None = None  # the students' learning rate, where the method learned one; None: the protocol's


@dataclass(frozen=True)
class Outcome:
    """What a task found: measures, and the artifacts it left (role -> file name in the run's folder)."""

    measures: list[Measure]
    artifacts: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)  # e.g. the data's fingerprint


@dataclass(kw_only=True)
class Context:
    """Everything a method or a task may use of its run. Groups that the method does not use hold defaults."""

    folder: RunFolder
    cache: Cache
    tracker: Tracker
    interrupt: Interrupt
    device: torch.device
    seed: int
    data_root: Path
    dataset_config: groups.DatasetConfig
    ipc: groups.IpcConfig
    student: groups.StudentConfig
    protocol: groups.ProtocolConfig
    generator_config: groups.GeneratorConfig
    mixture: groups.MixtureConfig
    profile: str = "paper"
    checkpoint_seconds: float = 30.0
    log_every: int = 20
    produce: Callable[[Context, str, Mapping[str, Any]], SyntheticSet] | None = None
    _dataset: ImageDataset | None = None

    @property
    def dataset(self) -> ImageDataset:
        """The images, loaded by the task before the method runs."""
        if self._dataset is None:
            raise RuntimeError("this task has no data set")
        return self._dataset

    @dataset.setter
    def dataset(self, dataset: ImageDataset) -> None:
        self._dataset = dataset

    def product_of(self, method: str, settings: Mapping[str, Any], images_per_class: int) -> SyntheticSet:
        """The product of another method of the task with this run's groups and seed, made once and cached.

        `settings` are values of that method's `Config` which differ from its defaults. UserError if the
        method is unknown, or a setting is.
        """
        if self.produce is None:
            raise RuntimeError("this context cannot make other methods' products")
        size = groups.IpcConfig(images_per_class=images_per_class)
        return self.produce(replace(self, ipc=size), method, settings)

    def generator(self, *purpose: str | int, device: torch.device | str | None = None) -> torch.Generator:
        """A generator on `device` (the run's, if None) that follows from the run's seed and `purpose`."""
        return seeding.generator(self.seed, *purpose, device=device or self.device)

    def loop(self, name: str, total: int, state: dict[str, Any]) -> Iterator[int]:
        """Count the steps 0 .. total-1 of a resumable loop, with progress.

        `state` is everything that the loop changes: tensors (changed in place), objects with `state_dict` and
        `load_state_dict`, or plain values. If this run was stopped inside the loop, the state is put back and
        the count goes on from there; it is saved between steps every `checkpoint_seconds`, when Ctrl-C asks
        to stop (then `Interrupted` is raised), and at the end. Randomness inside must follow from the step.
        """
        saved = self.folder.load_checkpoint(name)
        start = 0
        if saved is not None:
            start, content = saved
            _restore(state, content)
        if start < total:
            self.tracker.rewind(name, start)
        last = time.monotonic()
        with progress_bar(name, total, start) as bar:
            for step in range(start, total):
                if self.interrupt.requested:
                    _save(self.folder, name, step, state)
                    raise Interrupted(f"{name} {step}/{total}")
                if time.monotonic() - last >= self.checkpoint_seconds:
                    _save(self.folder, name, step, state)
                    last = time.monotonic()
                with self.interrupt.deferred():
                    yield step
                bar.update(step + 1)
        if start < total:
            _save(self.folder, name, total, state)

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
                    f"{phase} step {step}: {name}={number}: the run diverged; {_kept(self.folder, phase)}"
                )
        self.tracker.log(phase, step, numbers)


def _save(folder: RunFolder, name: str, step: int, state: dict[str, Any]) -> None:
    """Keep `state`, unless it holds a value that is not finite: then a UserError, and the last one stays."""
    content = _capture(state)
    if not _finite(content):
        raise UserError(
            f"{name} step {step}: its state is not finite: the run diverged; {_kept(folder, name)}"
        )
    folder.save_checkpoint(name, step, content)


def _kept(folder: RunFolder, name: str) -> str:
    saved = folder.load_checkpoint(name)
    kept = (
        f"the last good state is that of step {saved[0]}, in {folder.path}" if saved else "nothing was saved"
    )
    return f"a lower rate may help ({kept})"


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
