r"""The channel of the first author's code: a network f whose unit feature is a word of 128 symbols, learned
without labels, and a classifier of that feature.

Source: the public repository InfoGuidedDD of IGDS's first author, by its equations. A channel takes an image
X to one of S symbols V, with :math:`P(\cdot | x) = softmax(f(x) / \tau)` and :math:`\|f(x)\| = 1`. Since
Y - X - V is a Markov chain, :math:`I(X; V | Y) \le H(X | Y)`: more symbols than classes leave room for more
context.

Legend: B instances of a step, W views of each, S symbols, K classes, M queued keys.

Departures: group norm in place of batch norm; the augmentation families of the data set in place of
SimCLR's; the head's rate, 0.1 times its temperature, falls along a cosine (as released, it goes on at the
channel's rate).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import augment, models, training
from distill_bench.groups import Norm, Recipe, Schedule, StudentConfig
from distill_bench.information.contrast import Contrast
from distill_bench.information.measures import centroids
from distill_bench.information.predictions import Predictions
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.running import Run

__all__ = [
    "Channel",
    "ChannelTraining",
    "Space",
    "Views",
    "Word",
    "noisy",
    "real_centroids",
    "train_channel",
]

ROUNDS = 20  # called epochs: of the warm-up, and of what is logged
WARM_UP = 5 / 400  # share of the steps, as released
HEAD_WIDTH, HEAD_BATCH, HEAD_RATE = 256, 32, 0.1
CENTROID_IMAGES = 50  # training images of a class


@dataclass(frozen=True, kw_only=True)
class ChannelTraining:
    """How channel and head are built and trained: the fields of these names of `method=igds`."""

    symbols: int  # S
    channel_steps: int
    channel_batch: int  # B
    channel_width: int
    channel_lr: float
    views: int  # W
    queue: int  # M at most
    momentum: float
    contrast_temperature: float  # T
    term_temperature: float  # T2
    term_weight: float  # F
    divergence: str  # lautum | mutual: which of `jeffreys_halves` is the term
    head_steps: int
    head_noisy: bool
    head_temperature: float


class Word(nn.Module):
    """f: a ConvNet with group norm and a linear layer without bias, of unit norm: (B, C, H, W) -> (B, S)."""

    def __init__(self, width: int, symbols: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        student = StudentConfig(name="convnet", width=width, norm=Norm.group)
        self.net = models.build(student, channels=shape[0], num_classes=symbols, resolution=shape[1])
        self.net.get_submodule("classifier").register_parameter("bias", None)

    def forward(self, images: Tensor) -> Tensor:
        """The unit feature."""
        return F.normalize(self.net(images), dim=1)


class Channel(nn.Module):
    """A frozen f and its head: symbols and labels of what a prior diffuses, in one pass."""

    def __init__(self, word: nn.Module, head: nn.Module, temperature: float) -> None:
        super().__init__()
        self.word, self.head, self.temperature = word, head, temperature

    def forward(self, x: Tensor, features: bool = False) -> Any:
        """Logits (B, K) of the labels at the head's own temperature; with `features` also the feature, as
        `embedding`."""
        feature = self.word(x)
        logits = self.head(feature) / self.temperature
        return models.Features([], feature, logits) if features else logits

    def predict(self, x: Tensor) -> Predictions:
        """Labels and symbols, before their temperatures."""
        feature = self.word(x)
        return Predictions(self.head(feature), feature)


class Space(NamedTuple):
    """Where images meet the channel: `clean` takes images in [0, 1] there, `signal` (T,) are the shares of
    variance, alpha bar, from which the noise of an instance is drawn; None: uniform in (0, 1)."""

    clean: Callable[[Tensor], Tensor]
    signal: Tensor | None


def noisy(views_WBCHW: Tensor, signal_B: Tensor, draws: torch.Generator) -> Tensor:
    r""":math:`\sqrt u\, x + \sqrt{1 - u}\, \epsilon`, with one u of `signal_B` and one noise for all
    views of an instance."""
    one = views_WBCHW[0]
    noise = torch.randn(one.shape, generator=draws, dtype=one.dtype, device=one.device)
    u = signal_B.view(-1, 1, 1, 1)
    return u.sqrt() * views_WBCHW + (1 - u).sqrt() * noise


@torch.no_grad()
def real_centroids(
    data: ImageDataset,
    read: Callable[[Tensor], Tensor],
    clean: Callable[[Tensor], Tensor],
    temperature: float,
) -> Tensor:
    """Q (K, S): the mean prediction of up to 50 clean training images of each class."""
    train = data.train
    count = min(CENTROID_IMAGES, train.smallest_class)
    indices = train.sample_per_class(count, generator(0, "channel centroids")).flatten()
    pieces = indices.to(train.labels.device).split(250)
    logits = torch.cat([read(clean(train.unit(piece))) for piece in pieces])
    labels = train.labels[indices.to(train.labels.device)]
    return centroids((logits.float() / temperature).log_softmax(1), labels, data.num_classes)


class _Heated(training.Objective):
    """Cross-entropy of the head's logits over its temperature."""

    whole = True

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, output: Tensor, batch: training.Batch) -> Tensor:
        return training.hard_loss(output / self.temperature, batch)


def train_channel(
    run: Run,
    data: ImageDataset,
    plan: ChannelTraining,
    shape: tuple[int, int, int],
    space: Space,
    where: dict[str, Any],
) -> Channel:
    """The channel and its head on the frozen feature, both trained on the training split alone; made once for
    all runs, and cached.

    `where` says, as JSON, what `space` is. The head learns from one view an image, noisy or clean.
    """
    parts = {
        "training": asdict(plan),
        "data": data.pixel_fingerprint,
        "space": where,
        "augmentation": data.augmentation,
    }
    saved = run.cached("channel", parts, lambda part: _train(part, data, plan, shape, space))
    channel = _fresh(data, plan, shape).to(run.device)
    channel.load_state_dict(saved["weights"])
    return channel.eval().requires_grad_(False)


def _fresh(data: ImageDataset, plan: ChannelTraining, shape: tuple[int, int, int]) -> Channel:
    word = Word(plan.channel_width, plan.symbols, shape)
    layers = [nn.Linear(plan.symbols, HEAD_WIDTH), nn.ReLU(), nn.Linear(HEAD_WIDTH, HEAD_WIDTH), nn.ReLU()]
    head = nn.Sequential(*layers, nn.Linear(HEAD_WIDTH, data.num_classes))
    return Channel(word, head, plan.head_temperature)


def _train(
    run: Run, data: ImageDataset, plan: ChannelTraining, shape: tuple[int, int, int], space: Space
) -> dict[str, Any]:
    channel = _fresh(data, plan, shape).to(run.device)
    models.reinitialise(channel, generator(0, "channel weights", device=run.device))
    views = Views(data, space, plan.views, plan.channel_batch)
    objective = Contrast(channel.word, plan, min(plan.queue, max(1, len(data.train) // 4)))
    _fit(run, "channel", channel.word, views.draw, plan.channel_steps, objective, plan.channel_lr)
    channel.word.eval().requires_grad_(False)
    single = Views(data, space, 1, HEAD_BATCH, clean=not plan.head_noisy, name="head")

    def features(step: int) -> tuple[Tensor, Tensor]:
        images, labels = single.draw(step)
        with torch.no_grad():
            return channel.word(images), labels

    rate = HEAD_RATE * plan.head_temperature  # gradients are 1 / temperature times as large
    _fit(run, "head", channel.head, features, plan.head_steps, _Heated(plan.head_temperature), rate)
    return {"weights": channel.state_dict()}


def _fit(
    run: Run,
    name: str,
    net: nn.Module,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    objective: training.Objective,
    lr: float,
) -> None:
    """SGD as released: momentum 0.9, weight decay 1e-4, a short warm-up, a cosine to 0."""
    length = math.ceil(steps / ROUNDS)
    rounds = math.ceil(steps / length)
    recipe = Recipe(
        name=name,
        lr=lr,
        weight_decay=1e-4,
        schedule=Schedule.cosine,
        warmup=max(WARM_UP * rounds, 1 / length),
    )
    training.fit(
        net,
        training.DrawnBatches(draw, length),
        recipe,
        epochs=rounds,
        objective=objective.to(run.device),
        loop=lambda _, total, state: run.loop(name, total, state),
        log=lambda step, loss: run.log(name, step, loss=loss),
    )


class Views:
    """Batches of augmented training images in the channel's space, noisy unless `clean`; they follow from the
    step alone."""

    def __init__(
        self,
        data: ImageDataset,
        space: Space,
        views: int,
        batch: int,
        clean: bool = False,
        name: str = "views",
    ) -> None:
        self.data, self.space, self.views, self.batch = data, space, views, batch
        self.clean, self.name = clean, name

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """(images (W B, C, H, W), view by view, labels (W B,)); each view has one family of augmentations."""
        train, views, batch = self.data.train, self.views, self.batch
        draws = generator(0, f"channel {self.name}", step, device=train.labels.device)
        indices = torch.randint(len(train), (batch,), generator=draws, device=train.labels.device)
        images = (train.unit(indices) * 2 - 1).expand(views, -1, -1, -1, -1)
        if self.data.augmentation:
            families = generator(0, f"channel {self.name} families", step)
            images = augment.apply(
                augment.draw(self.data.augmentation, views, batch, families, draws), images
            )
        pixels = ((images + 1) / 2).flatten(0, 1)
        inputs = self.space.clean(pixels).unflatten(0, (views, batch))
        if not self.clean:
            inputs = noisy(inputs, self._signal(draws), draws)
        return inputs.flatten(0, 1), train.labels[indices].repeat(views)

    def _signal(self, draws: torch.Generator) -> Tensor:
        """The instances' shares of signal (B,)."""
        if self.space.signal is None:
            return torch.rand(self.batch, generator=draws, device=draws.device)
        t = torch.randint(len(self.space.signal), (self.batch,), generator=draws, device=draws.device)
        return self.space.signal[t]
