"""`dataset=`: the images, their size and their normalisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath
from typing import Any, ClassVar

from distill_bench.errors import closest, require
from distill_bench.groups.group import Group

__all__ = ["DatasetConfig", "Statistics"]


class Statistics(Enum):
    """What a data set's `mean` and `std` are statistics of."""

    pixel = "pixel"  # over all pixels of the training images
    per_image = "per_image"  # std: mean over images of each image's own std (the field's CIFAR numbers)
    imagenet = "imagenet"  # those of ImageNet, as the papers use them for other sets
    computed = "computed"  # not in the config: computed from the training images when they are loaded


@dataclass(kw_only=True)
class DatasetConfig(Group):
    """the images: where they lie, their size, and how they are normalised."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"folder"})

    name: str = "digits"
    source: str = "digits"  # the loader, a function of distill_bench.data.sources
    folder: str = ""  # where the files lie, under data_root (absolute for imagefolder)
    num_classes: int = 10  # 0: as many as there are class folders
    channels: int = 1
    resolution: int = 8  # pixels a side
    mean: list[float] = field(default_factory=list)  # per channel, of values in [0, 1]; empty: computed
    std: list[float] = field(default_factory=list)
    statistics: Statistics = Statistics.pixel
    smallest_class: int = 0  # training images of the smallest class, 0: known only once the files are read
    augmentation: str = ""  # families of differentiable augmentation that keep this set's labels
    zca: bool = False  # ZCA whitening (eps 0.1) of values in [0, 1], in place of mean and std
    classes: list[int] = field(default_factory=list)  # keep only these classes, relabelled 0.. in this order
    shuffled_labels: bool = False  # negative control: the training labels are permuted at random
    streamed: bool = False  # decode images when asked for, in place of holding all of them on the device

    def __post_init__(self) -> None:
        require(self.num_classes >= 0, "dataset.num_classes", self.num_classes, ">= 0")
        require(self.channels in (1, 3), "dataset.channels", self.channels, "1 or 3")
        require(8 <= self.resolution <= 4096, "dataset.resolution", self.resolution, "from 8 to 4096")
        require(self.num_classes != 1, "dataset.num_classes", self.num_classes, "two or more, or 0")
        fits = len(self.classes) != 1
        require(fits, "dataset.classes", self.classes, "two classes or more: of one, all guesses are right")
        for key, values in (("mean", self.mean), ("std", self.std)):
            fits = len(values) in (0, self.channels)
            require(fits, f"dataset.{key}", values, f"one value per channel ({self.channels}) or empty")
        require(all(0 <= m <= 1 for m in self.mean), "dataset.mean", self.mean, "in [0, 1] in every channel")
        require(all(0 < s <= 1 for s in self.std), "dataset.std", self.std, "in (0, 1] in every channel")
        families = {"color", "crop", "cutout", "flip", "scale", "rotate"}
        for family in filter(None, self.augmentation.split("_")):
            require(family in families, "dataset.augmentation", self.augmentation, closest(family, families))
        require(not (self.zca and self.streamed), "dataset.zca", self.zca, "false for a streamed data set")

    def unused(self) -> frozenset[str]:
        """A data set that ships in a package has no folder."""
        return frozenset({"folder"}) if self.source == "digits" else frozenset()

    def label(self, choice: str) -> dict[str, Any]:
        """The option's name, and for `imagefolder` that of the folder too."""
        own = choice == "imagefolder" and self.folder
        return {"dataset": f"{choice}-{PurePath(self.folder).name}" if own else choice}

    def inputs(self) -> dict[str, str]:
        """The folder of the user's own images."""
        return {"folder": self.folder} if self.source == "imagefolder" and self.folder else {}
