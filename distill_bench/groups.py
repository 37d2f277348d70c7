"""The typed form of every shared config group: types, ranges, units. Nothing heavy is imported here.

A group's yaml is merged into its class after Hydra has composed, so a misspelt key, a wrong type or a value
out of range is one clear line before any data is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from distill_bench.errors import UserError, closest, require

__all__ = [
    "GROUPS",
    "Augmentation",
    "Batching",
    "Centroid",
    "DatasetConfig",
    "Distance",
    "FeatureSource",
    "GeneratorConfig",
    "GeneratorKind",
    "Gradient",
    "Init",
    "IpcConfig",
    "Labels",
    "MixtureConfig",
    "MixtureKind",
    "Norm",
    "Optimiser",
    "Pooling",
    "ProfileConfig",
    "ProtocolConfig",
    "Sampler",
    "Schedule",
    "Statistics",
    "StudentConfig",
    "Variance",
]


class Statistics(Enum):
    """What a data set's `mean` and `std` are statistics of."""

    pixel = "pixel"  # over all pixels of the training images
    per_image = "per_image"  # std: mean over images of each image's own std (the field's CIFAR numbers)
    imagenet = "imagenet"  # those of ImageNet, as the papers use them for other sets
    computed = "computed"  # not in the config: computed from the training images when they are loaded


@dataclass(kw_only=True)
class DatasetConfig:
    """`dataset=`: where the images lie, their size, and how they are normalised."""

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
        require(self.resolution >= 8, "dataset.resolution", self.resolution, ">= 8")
        for key, values in (("mean", self.mean), ("std", self.std)):
            fits = len(values) in (0, self.channels)
            require(fits, f"dataset.{key}", values, f"one value per channel ({self.channels}) or empty")
        require(all(s > 0 for s in self.std), "dataset.std", self.std, "> 0 in every channel")
        families = {"color", "crop", "cutout", "flip", "scale", "rotate"}
        for family in filter(None, self.augmentation.split("_")):
            require(family in families, "dataset.augmentation", self.augmentation, closest(family, families))
        require(not (self.zca and self.streamed), "dataset.zca", self.zca, "false for a streamed data set")


class Distance(Enum):
    """How far the gradients of a class are apart."""

    ours = "ours"  # DC's: one minus cosine, for each output unit of each layer
    cosine = "cosine"  # one minus cosine of all parameters in one vector
    mse = "mse"  # squared distance of these vectors


class Init(Enum):
    """What the synthetic images are before the first step."""

    real = "real"  # random real images of the class
    noise = "noise"  # standard normal values
    herding = "herding"  # real images selected by herding
    kcenter = "kcenter"  # real images selected by k-center


class FeatureSource(Enum):
    """The features in which a coreset is selected."""

    trained = "trained"  # embeddings of the student trained on the whole training set
    random = "random"  # embeddings of the student as initialised
    pixels = "pixels"


class Centroid(Enum):
    """The distribution from which a class's predictions are to differ."""

    synthetic = (
        "synthetic"  # that of the set being made: the term is the set's conditional mutual information
    )
    real = (
        "real"  # that of real images: an upper bound of the above, which can be raised at the cost of labels
    )
    mixture = "mixture"  # the mean of both


class Gradient(Enum):
    """How the reward's gradient reaches x_t."""

    shrunk = "shrunk"  # stopped at x0h; the denoiser's Jacobian as for an isotropic Gaussian prior
    naive = "naive"  # stopped at x0h, over sqrt(ab): overshoots at high noise
    exact = "exact"  # through the denoiser


@dataclass(kw_only=True)
class IpcConfig:
    """`ipc=`: synthetic images per class."""

    images_per_class: int = 10

    def __post_init__(self) -> None:
        require(self.images_per_class >= 1, "ipc.images_per_class", self.images_per_class, ">= 1")


class Norm(Enum):
    """Normalisation layers of the students."""

    instance = "instance"
    batch = "batch"
    group = "group"  # 4 groups
    layer = "layer"
    none = "none"


class Pooling(Enum):
    """Pooling after each block of a ConvNet."""

    avg = "avg"
    max = "max"
    none = "none"


@dataclass(kw_only=True)
class StudentConfig:
    """`student=`: the network that distils, and is trained from scratch in the evaluation."""

    name: str = (
        "convnet"  # convnet, convnet6, alexnet, vgg11, resnet18, resnetap10, or any model name of timm
    )
    width: int = 128  # channels of each ConvNet block (other networks have their own)
    depth: int = 0  # ConvNet blocks; 0: by resolution (8: 2, 28 and 32: 3, 64: 4, 128: 5, 256: 6)
    norm: Norm = Norm.instance
    pooling: Pooling = Pooling.avg

    def __post_init__(self) -> None:
        require(1 <= self.width <= 4096, "student.width", self.width, "from 1 to 4096")
        require(
            0 <= self.depth <= 8, "student.depth", self.depth, "from 1 to 8, or 0 to follow the resolution"
        )


class Batching(Enum):
    """How the evaluation's networks are trained."""

    auto = "auto"  # as measured to be faster on the device at hand
    stacked = "stacked"  # all networks in one vectorised step
    sequential = "sequential"  # one network after another


class Optimiser(Enum):
    """What trains the students."""

    sgd = "sgd"  # with momentum, and weight decay on everything
    adamw = "adamw"  # betas 0.9 and 0.999; weight decay on matrices and kernels alone


class Schedule(Enum):
    """The learning rate over the E epochs."""

    drop = "drop"  # E + 1 epochs 0 .. E; x lr_drop once, past the middle, where the momentum is lost
    two_drops = "two_drops"  # x lr_drop at 2/3 and at 5/6
    half_cosine = "half_cosine"  # from 1 to 1/2 along half a cosine


class Augmentation(Enum):
    """How the students' training images are augmented."""

    siamese = "siamese"  # differentiable siamese augmentation, one family a batch
    crop = "crop"  # random-resized-crop and flip, then colour jitter and lighting if they are above 0


class Labels(Enum):
    """What the students are trained towards."""

    hard = "hard"  # the set's labels: cross-entropy
    soft = "soft"  # a teacher of the same architecture, trained on the whole training set: Kullback-Leibler divergence


@dataclass(kw_only=True)
class ProtocolConfig:
    """`protocol=`: how a synthetic set is measured. `accuracy` is selected on nothing."""

    name: str = "dc"
    nets: int = 5  # networks trained from scratch on each set
    epochs: int = 1000  # E; with epochs_by_ipc: E at most
    epochs_by_ipc: dict[int, int] = field(
        default_factory=dict
    )  # largest IPC -> E; the last one holds beyond it
    epoch_scale: float = 1.0  # E is divided by it: small data sets take 10
    optimiser: Optimiser = Optimiser.sgd
    lr: float = 0.01
    schedule: Schedule = Schedule.drop
    lr_drop: float = 0.1  # factor at a drop
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4
    batch_size: int = 256
    batch_by_ipc: dict[int, int] = field(default_factory=dict)  # largest IPC -> batch_size
    by_classes: dict[int, dict[str, float]] = field(
        default_factory=dict
    )  # least classes -> what changes from there on
    augment: bool = True
    augmentation: Augmentation = Augmentation.siamese
    crop_area: float = 1.0  # random-resized-crop: least share of the image, 1: no crop
    colour_jitter: float = 0.0  # half-width of the factors of brightness, contrast and saturation
    lighting: float = 0.0  # standard deviation along the principal colours
    cutmix: bool = False  # on every batch
    labels: Labels = Labels.hard
    temperature: float = 20.0  # of soft labels
    best: bool = (
        False  # also read the test accuracy during training, and report the highest: selected on test data
    )
    readings: int = 100  # at most so many looks, evenly spread, the last epoch among them
    students: list[str] = field(default_factory=list)  # further architectures (cross-architecture tables)
    batching: Batching = Batching.auto
    audit: bool = (
        False  # also ask a network trained on the whole training set about the images: labels, information
    )
    ceiling: bool = False  # also train on the whole training set (once, cached) for comparison
    full_steps: int = 12_000  # optimisation steps on the whole training set, at least one epoch
    full_nets: int = 1  # networks trained on the whole training set

    def __post_init__(self) -> None:
        for key in ("nets", "epochs", "batch_size", "full_steps", "full_nets", "readings"):
            require(getattr(self, key) >= 1, f"protocol.{key}", getattr(self, key), ">= 1")
        for key in ("lr", "epoch_scale", "temperature"):
            require(getattr(self, key) > 0, f"protocol.{key}", getattr(self, key), "> 0")
        for key in ("weight_decay", "lighting"):
            require(getattr(self, key) >= 0, f"protocol.{key}", getattr(self, key), ">= 0")
        require(0 < self.lr_drop <= 1, "protocol.lr_drop", self.lr_drop, "in (0, 1]")
        require(0 <= self.momentum < 1, "protocol.momentum", self.momentum, "in [0, 1)")
        require(0 < self.crop_area <= 1, "protocol.crop_area", self.crop_area, "in (0, 1]")
        require(0 <= self.colour_jitter < 1, "protocol.colour_jitter", self.colour_jitter, "in [0, 1)")
        for key in ("epochs_by_ipc", "batch_by_ipc"):
            table = getattr(self, key)
            fits = all(ipc >= 1 and value >= 1 for ipc, value in table.items())
            require(fits, f"protocol.{key}", table, "a table of IPC and values, all >= 1")
        for key in {key: None for changes in self.by_classes.values() for key in changes}:
            if key not in CLASS_CHANGES:
                raise UserError(f"protocol.by_classes.{key}: unknown key; {closest(key, CLASS_CHANGES)}")


CLASS_CHANGES = (
    "lr",
    "weight_decay",
    "batch_size",
    "batch_factor",
    "epochs_factor",
)  # keys within by_classes


class GeneratorKind(Enum):
    """What draws images of a class."""

    diffusion = "diffusion"  # a small class-conditional diffusion model of pixels, trained here and cached
    dit = "dit"  # a pretrained diffusion transformer, in the latent space of its autoencoder
    cvae = "cvae"  # the decoder of a conditional variational autoencoder
    cgan = "cgan"  # a small conditional GAN
    biggan = "biggan"  # BigGAN's residual generator


class Sampler(Enum):
    """How a diffusion model's reverse process is solved (by diffusers)."""

    ddim = "ddim"  # deterministic
    ddpm = "ddpm"  # ancestral, with the posterior's noise
    dpm_solver = "dpm_solver"  # DPM-Solver++(2M), deterministic


class Variance(Enum):
    """The variance of an ancestral step."""

    fixed_small = "fixed_small"  # of the posterior given x0
    learned_range = "learned_range"  # between that and beta_t, as the network says (DiT)


@dataclass(kw_only=True)
class GeneratorConfig:
    """`generator=`: the class-conditional generator that generative methods sample, guide, tune or distil
    into."""

    name: str = "trained"
    kind: GeneratorKind = GeneratorKind.diffusion
    preset: str = "auto"  # network and training of a model trained here; auto: by the images' size
    path: str = ""  # weights made elsewhere: a directory (dit) or a .safetensors file; empty: trained here
    train_steps: int = 200_000  # optimisation steps at most (a preset has its own number)
    train_seconds: float = 3600.0  # training time at most; the rate is annealed to 0 whichever ends it
    width: int = 1024  # channels (of the finest level) at most (a preset has its own number)
    batch_size: int = 4096  # training images a step at most (a preset has its own number)
    lr: float = 0.0  # peak learning rate, 0: the preset's
    label_drop: float = 0.1  # share of training labels replaced by the null class
    min_snr: float = 5.0  # gamma of the Min-SNR loss weight, > 0
    sampler: Sampler = Sampler.ddim  # ddim | ddpm | dpm_solver
    sampling_steps: int = 50  # steps of the reverse process
    cfg: float = 1.5  # weight w of classifier-free guidance: 1 conditional, 0 unconditional
    cfg_channels: int = 0  # leading channels that guidance acts on, 0: all (published DiT code: 3 of 4)
    variance: Variance = Variance.fixed_small  # of an ancestral step
    sampling_batch: int = 64  # images drawn together: speed and memory only, never results

    def __post_init__(self) -> None:
        for key in ("train_steps", "width", "batch_size", "sampling_steps", "sampling_batch"):
            require(getattr(self, key) >= 1, f"generator.{key}", getattr(self, key), ">= 1")
        for key in ("lr", "cfg", "cfg_channels"):
            require(getattr(self, key) >= 0, f"generator.{key}", getattr(self, key), ">= 0")
        require(self.train_seconds > 0, "generator.train_seconds", self.train_seconds, "> 0")
        require(0 <= self.label_drop < 1, "generator.label_drop", self.label_drop, "in [0, 1)")
        require(self.min_snr > 0, "generator.min_snr", self.min_snr, "> 0")
        require(self.sampling_steps <= 1000, "generator.sampling_steps", self.sampling_steps, "at most 1000")


class MixtureKind(Enum):
    """Families of Gaussian mixtures to reduce."""

    classic = "classic"  # the ten-component one-dimensional mixture of the literature
    random = "random"  # seeded random mixtures


@dataclass(kw_only=True)
class MixtureConfig:
    """`mixture=`: the Gaussian mixtures to reduce."""

    name: str = "classic"
    kind: MixtureKind = MixtureKind.classic
    components: int = 10  # N
    target: int = 5  # L, components after reduction
    dimension: int = 1  # d
    draws: int = 1  # how many mixtures, each reduced on its own

    def __post_init__(self) -> None:
        require(self.dimension >= 1, "mixture.dimension", self.dimension, ">= 1")
        require(self.draws >= 1, "mixture.draws", self.draws, ">= 1")
        fits = 1 <= self.target <= self.components
        require(fits, "mixture.target", self.target, f"from 1 to mixture.components ({self.components})")
        if self.kind is MixtureKind.classic:
            given = (self.components, self.dimension, self.draws)
            require(
                given == (10, 1, 1), "mixture.(components, dimension, draws)", given, "(10, 1, 1) for classic"
            )


@dataclass(kw_only=True)
class ProfileConfig:
    """`profile=`: upper bounds that scale every cell down; a value set on the command line is left alone."""

    name: str = "paper"
    caps: dict[str, dict[str, int]] = field(default_factory=dict)  # group -> field -> largest value


GROUPS: dict[str, type] = {
    "dataset": DatasetConfig,
    "ipc": IpcConfig,
    "student": StudentConfig,
    "protocol": ProtocolConfig,
    "generator": GeneratorConfig,
    "mixture": MixtureConfig,
}
