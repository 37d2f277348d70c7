"""The classifier q(y | x) whose predictions stand for information while images are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench import augment, models, training
from distill_bench.data import hold_out
from distill_bench.groups import Norm, Recipe, Schedule, StudentConfig
from distill_bench.information.loss import mcmi_loss
from distill_bench.information.measures import centroids, cmi, log_likelihood
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.running import Run

__all__ = ["Estimator", "EstimatorTraining", "best_round", "rounds_of", "train_estimator"]

ROUNDS = 20  # validations, and refreshments of the centroids
NOISE = 0.2  # largest standard deviation of the noise on the inputs, so that blurred images are in range
BATCH = 64
RECIPE = Recipe(name="estimator", lr=0.05, momentum=0.9, weight_decay=5e-4, schedule=Schedule.cosine)
"""SGD of the released MCMI code, cosine to 0."""
HELD = 50  # training images of a class, at most a tenth, that choose the weights; as many for the centroids
SCORES = ("accuracy", "log_likelihood", "cmi")  # of held-out images, after each round
POINT = 0.5  # % of accuracy that a likelier set of weights may lose against the most accurate one


@dataclass(frozen=True, kw_only=True)
class EstimatorTraining:
    """How the estimator is built and trained."""

    steps: int  # optimisation steps, rounded up to whole rounds
    width: int  # channels of its ConvNet
    weight: float  # lambda of the information term
    plain: float = 0.8  # share of the steps with cross-entropy alone, which come first


@dataclass(frozen=True)
class Estimator:
    """A frozen classifier of what a prior diffuses, its real-data centroids (K, K), and how it did when held
    out: accuracy (%), log_likelihood and cmi (nats)."""

    net: nn.Module
    centroids: Tensor
    record: dict[str, float]


def train_estimator(
    run: Run,
    data: ImageDataset,
    settings: EstimatorTraining,
    shape: tuple[int, int, int],
    encode: Callable[[Tensor], Tensor],
    space: dict[str, Any],
) -> Estimator:
    """A ConvNet with group norm, trained on the training split alone; made once for all runs, and cached.

    `encode` takes images in [-1, 1] to what it classifies, of `shape`; `space` says, as JSON, what that is.
    The loss is cross-entropy for the first 80 % of the steps, then MCMI's, with centroids refreshed each
    twentieth of the training. The result has the weights of the best held-out log-likelihood among those
    within half a point of the best held-out accuracy, with the information term if any: more information must
    not be bought with errors.
    """
    parts = {
        "training": asdict(settings),
        "data": data.pixel_fingerprint,
        "space": space,
        "augmentation": _families(data),
    }
    saved = run.cached("estimator", parts, lambda part: _train(part, data, settings, shape, encode))
    net = _network(data, settings.width, shape).to(run.device)
    net.load_state_dict(saved["weights"])
    return Estimator(net.eval().requires_grad_(False), saved["centroids"].to(run.device), saved["record"])


def best_round(scores: list[dict[str, float]], first: int = 0) -> int:
    """The round of the best held-out log-likelihood among those within half a point of the best accuracy.

    Of these, rounds before `first` only where there is no other: the information term lowers the likelihood,
    so that against all rounds it would never be chosen.
    """
    top = max(score["accuracy"] for score in scores)
    near = [i for i, score in enumerate(scores) if score["accuracy"] >= top - POINT]
    late = [i for i in near if i >= first]
    return max(late or near, key=lambda i: (scores[i]["log_likelihood"], i))


def rounds_of(steps: int) -> tuple[int, int]:
    """(rounds, steps of each): at most `ROUNDS` of them, with as many steps together, or a few more."""
    length = math.ceil(steps / ROUNDS)
    return math.ceil(steps / length), length


class _Mcmi(training.Objective):
    """`mcmi_loss`; from epoch `informed` on with centroids that are read anew before each epoch."""

    whole = True
    centroids: Tensor

    def __init__(self, weight: float, informed: int, read: Callable[[int], Tensor], classes: int) -> None:
        super().__init__()
        self.weight, self.informed, self._read = weight, informed, read
        self.register_buffer("centroids", torch.zeros(classes, classes))

    def forward(self, output: Tensor, batch: training.Batch) -> Tensor:
        fixed = self.centroids if self.epoch >= self.informed else None
        labels = batch.labels.flatten()
        return mcmi_loss(output, labels, fixed, self.weight) * len(labels)

    def begin_epoch(self, epoch: int) -> None:
        if epoch >= self.informed:
            self.centroids.copy_(self._read(epoch))


def _train(
    run: Run,
    data: ImageDataset,
    settings: EstimatorTraining,
    shape: tuple[int, int, int],
    encode: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Rounds of steps, after each of which the held-out images are looked at; the best round is kept."""
    train, (rounds, length) = data.train, rounds_of(settings.steps)
    informed = math.ceil(settings.plain * rounds) if settings.weight else rounds  # first round with the term
    held_out = max(1, min(HELD, train.smallest_class // 10))
    rest_N, held_N = hold_out(train, held_out, generator(0, "estimator split", device=run.device))
    net = _network(data, settings.width, shape).to(run.device)
    models.reinitialise(net, generator(0, "estimator weights", device=run.device))
    names = list(net.state_dict())
    history = {f"rounds {n}": v.new_zeros(rounds, *v.shape) for n, v in net.state_dict().items()}
    scores = torch.zeros(rounds, len(SCORES), dtype=torch.float64)

    def look(indices: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and labels of training images."""
        net.eval()
        with torch.no_grad():
            logits = [net(encode(train.unit(batch) * 2 - 1)) for batch in indices.split(250)]
        net.train()
        return torch.cat(logits).log_softmax(1), train.labels[indices]

    def fresh_centroids(round_: int | str) -> Tensor:
        draws = generator(0, "estimator centroids", round_)
        indices = train.sample_per_class(min(HELD, train.smallest_class), draws)
        return centroids(*look(indices.flatten().to(run.device)))

    def note(round_: int, _loss: Tensor) -> None:
        if round_:
            scores[round_ - 1] = torch.tensor([_score(*look(held_N))[name] for name in SCORES])
            for name, value in net.state_dict().items():
                history[f"rounds {name}"][round_ - 1].copy_(value)

    training.fit(
        net,
        training.DrawnBatches(_drawn(data, rest_N, encode), length),
        RECIPE,
        epochs=rounds,
        objective=_Mcmi(settings.weight, informed, fresh_centroids, data.num_classes).to(run.device),
        loop=lambda _, total, state: run.loop("estimator", total, state),
        on_epoch=note,
        log=lambda step, loss: run.log("estimator", step, loss=loss),
        state={**history, "scores": scores},
    )
    readings = [dict(zip(SCORES, row, strict=True)) for row in scores.tolist()]
    best = best_round(readings, informed)
    net.load_state_dict({name: history[f"rounds {name}"][best] for name in names})
    return {"weights": net.state_dict(), "centroids": fresh_centroids("final"), "record": readings[best]}


def _score(log_q: Tensor, labels: Tensor) -> dict[str, float]:
    """How good predictions of held-out images are, and how much they carry."""
    return {
        "accuracy": 100 * float((log_q.argmax(1) == labels).float().mean()),
        "log_likelihood": float(log_likelihood(log_q, labels)),
        "cmi": max(0.0, float(cmi(log_q, labels))),
    }


def _drawn(
    data: ImageDataset, rest_N: Tensor, encode: Callable[[Tensor], Tensor]
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """(noisy augmented inputs, labels) of a step; they follow from the step."""
    families, device = _families(data), rest_N.device

    def draw(step: int) -> tuple[Tensor, Tensor]:
        draws = generator(0, "estimator", step, device=device)
        indices = rest_N[torch.randint(len(rest_N), (BATCH,), generator=draws, device=device)]
        images = data.train.unit(indices) * 2 - 1
        if families:
            picks = augment.draw(families, 1, BATCH, generator(0, "estimator families", step), draws)
            images = augment.apply(picks, images[None])[0]
        inputs = encode(images)
        sigma = NOISE * torch.rand(BATCH, 1, 1, 1, generator=draws, device=device)
        noise = torch.randn(inputs.shape, generator=draws, device=device)
        return inputs + sigma * noise, data.train.labels[indices]

    return draw


def _families(data: ImageDataset) -> str:
    """Of the families that preserve the data set's labels, those of ordinary training."""
    return "_".join(family for family in data.augmentation.split("_") if family in ("crop", "flip"))


def _network(data: ImageDataset, width: int, shape: tuple[int, int, int]) -> nn.Module:
    """The classifier, on the CPU."""
    student = StudentConfig(name="convnet", width=width, norm=Norm.group)
    return models.build(student, channels=shape[0], num_classes=data.num_classes, resolution=shape[1])
