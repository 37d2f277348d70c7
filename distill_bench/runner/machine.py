"""What everything in one process shares: folders, device, and the data sets that were loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill_bench import data
from distill_bench.context import Context
from distill_bench.contract import ProductSpec
from distill_bench.data.locate import Layout, locate
from distill_bench.device import choose_device
from distill_bench.files import stamp
from distill_bench.groups import plain
from distill_bench.interrupt import Interrupt
from distill_bench.planning import Options, ProductPlan
from distill_bench.products.files import RECORD
from distill_bench.store import Cache, Checkpoints, Folder, content_key
from distill_bench.tracking import Tracker, WandbMirror

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset

__all__ = ["Machine", "data_stamp"]

_MANY = 20_000  # files that are looked at in a moment


def data_stamp(plan: ProductPlan, options: Options) -> str:
    """A stamp of the data set's files where they lie; empty if there are none, or too many for a quick look.

    A finished run whose data have another stamp is looked at again: their fingerprint then tells.
    """
    config = plan.groups.get("dataset")
    if config is None:
        return ""
    location = locate(config, Path(options.data_root))
    if location.layout in (Layout.bundled, Layout.absent):
        return ""
    few = sum(1 for _ in islice(location.path.rglob("*"), _MANY)) < _MANY
    return stamp(location.path) if few else ""


@dataclass(kw_only=True)
class Machine:
    """What everything in one process shares: folders, device, and the data sets that were loaded."""

    options: Options
    device: torch.device
    interrupt: Interrupt
    mirror: WandbMirror | None = None
    datasets: dict[str, ImageDataset] = field(default_factory=dict)
    product_id: str = ""  # of the run's own product

    @classmethod
    def of(cls, options: Options, interrupt: Interrupt) -> Machine:
        """The machine of a run. UserError if its device is not there."""
        if options.threads:
            torch.set_num_threads(options.threads)
        return cls(options=options, device=choose_device(options.device), interrupt=interrupt)

    @property
    def cache(self) -> Cache:
        """The parts that runs share."""
        return Cache(Path(self.options.cache_root))

    def product_folder(self, plan: ProductPlan) -> Folder:
        """Where the product of `plan` lies."""
        return Folder(Path(self.options.products_root), plan.product_id, RECORD)

    def dataset(self, plan: ProductPlan) -> ImageDataset:
        """The data set of `plan`, loaded once a process."""
        key = self._key(plan)
        if key not in self.datasets:
            root = Path(self.options.data_root)
            self.datasets[key] = data.load(plan.groups["dataset"], root, self.cache, self.device, plan.seed)
        return self.datasets[key]

    def known_fingerprint(self, plan: ProductPlan) -> str:
        """The fingerprint of the data set of `plan` if it is loaded, else nothing."""
        loaded = self.datasets.get(self._key(plan)) if "dataset" in plan.groups else None
        return loaded.fingerprint if loaded else ""

    def context(
        self,
        plan: ProductPlan,
        folder: Folder,
        *,
        owner: str,
        groups: Mapping[str, Any],
        about: Mapping[str, Any],
        load_part: Callable[[ProductSpec], Any],
    ) -> Context:
        """What `owner` may use while it works in `folder`; `about` says what its checkpoints belong to."""
        context = Context(
            device=self.device,
            seed=plan.seed,
            cache=self.cache,
            checkpoints=Checkpoints(folder.work, about),
            tracker=Tracker(folder.work / "metrics.jsonl", self.mirror),
            interrupt=self.interrupt,
            checkpoint_seconds=self.options.checkpoint_seconds,
            owner=owner,
            groups=groups,
            load_dataset=lambda: self.dataset(plan),
            load_part=load_part,
        )
        if "dataset" in groups:
            _ = context.dataset  # so that checkpoints name it before any loop is entered
        return context

    def _key(self, plan: ProductPlan) -> str:
        config = plan.groups["dataset"]
        seed = plan.seed if config.shuffled_labels else 0
        return content_key({"dataset": plain(config), "seed": seed})
