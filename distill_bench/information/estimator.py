"""The classifier q(y | x) whose predictions stand for information while images are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench import augment, data, models
from distill_bench.groups import Norm, StudentConfig
from distill_bench.information.loss import mcmi_loss
from distill_bench.information.measures import centroids, cmi, log_likelihood
from distill_bench.seeding import generator

if TYPE_CHECKING:
    from distill_bench.contract import Context

__all__ = ["Estimator", "EstimatorSettings", "best_round", "estimator_parts", "train_estimator"]

ROUNDS = 20  # validations, and refreshments of the centroids
NOISE = 0.2  # largest standard deviation of the noise on the inputs, so that blurred images are in range
BATCH, LR, MOMENTUM, DECAY = 64, 0.05, 0.9, 5e-4  # SGD of the released MCMI code, cosine to 0
HELD = 50  # training images of a class, at most a tenth, on which the weights are chosen; as many for the centroids
POINT = 0.5  # % of accuracy that a likelier set of weights may lose against the most accurate one


@dataclass(frozen=True, kw_only=True)
class EstimatorSettings:
    """How the estimator is built and trained."""

    steps: int  # optimisation steps
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
    ctx: Context,
    settings: EstimatorSettings,
    shape: tuple[int, int, int],
    encode: Callable[[Tensor], Tensor],
    space: dict[str, Any],
) -> Estimator:
    """A ConvNet with group norm, trained on the training split alone; made once for all runs, and cached.

    `encode` takes images in [-1, 1] to what it classifies, of `shape`; `space` says, as JSON, what that is.
    The loss is cross-entropy for the first 80 % of the steps, then MCMI's, with centroids refreshed each
    twentieth of the training. Kept are the weights of the best held-out log-likelihood among those within
    half a point of the best held-out accuracy, with the information term if any: more information must not be
    bought with errors.
    """
    parts = estimator_parts(ctx, settings, space)
    saved = ctx.cache.get("estimator", parts, lambda: _train(ctx, settings, shape, encode))
    net = _network(ctx, settings.width, shape)
    net.load_state_dict(saved["weights"])
    return Estimator(net.eval().requires_grad_(False), saved["centroids"].to(ctx.device), saved["record"])


def estimator_parts(ctx: Context, settings: EstimatorSettings, space: dict[str, Any]) -> dict[str, Any]:
    """What an estimator depends on, as JSON for a cache key."""
    parts = {"settings": asdict(settings), "data": ctx.dataset.fingerprint, "space": space}
    return {**parts, "augmentation": _families(ctx)}


def best_round(scores: list[dict[str, float]], first: int = 0) -> int:
    """The round of the best held-out log-likelihood among those within half a point of the best accuracy.

    Of these, rounds before `first` only where there is no other: the information term lowers the likelihood,
    so that against all rounds it would never be chosen.
    """
    top = max(score["accuracy"] for score in scores)
    near = [i for i, score in enumerate(scores) if score["accuracy"] >= top - POINT]
    late = [i for i in near if i >= first]
    return max(late or near, key=lambda i: (scores[i]["log_likelihood"], i))


def _train(
    ctx: Context, settings: EstimatorSettings, shape: tuple[int, int, int], encode: Callable[[Tensor], Tensor]
) -> dict[str, Any]:
    images, train = ctx.dataset, ctx.dataset.train
    held = max(1, min(HELD, train.smallest_class // 10))
    kept_N, held_N = data.hold_out(train, held, generator(0, "estimator split", device=ctx.device))
    net = _network(ctx, settings.width, shape).train()
    models.reinitialise(net, generator(0, "estimator weights", device=ctx.device))
    optimiser = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    for parameter in net.parameters():
        optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    momenta = {f"momentum {i}": s["momentum_buffer"] for i, s in enumerate(optimiser.state.values())}
    rounds = min(ROUNDS, settings.steps)
    informed = (
        math.ceil(settings.plain * rounds) if settings.weight else rounds
    )  # the first round with the term
    kept = {
        f"rounds {name}": value.new_zeros(rounds, *value.shape) for name, value in net.state_dict().items()
    }
    state: dict[str, Any] = {"net": net, **momenta, **kept, "scores": []}

    def look(indices: Tensor) -> tuple[Tensor, Tensor]:
        net.eval()
        with torch.no_grad():
            parts = [net(encode(_unit(images, some))) for some in indices.split(250)]
        net.train()
        return torch.cat(parts).log_softmax(1), train.labels[indices]

    for part in ctx.loop("estimator", rounds, state):
        first, last = part * settings.steps // rounds, (part + 1) * settings.steps // rounds
        fixed = None
        if part >= informed:
            some = train.sample_per_class(
                min(HELD, train.smallest_class), generator(0, "estimator centroids", part)
            )
            fixed = centroids(*look(some.flatten().to(ctx.device)))
        for step, inputs, labels in _batches(ctx, kept_N, encode, first, last):
            optimiser.param_groups[0]["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            loss = mcmi_loss(net(inputs), labels, fixed, settings.weight)
            optimiser.zero_grad(set_to_none=False)
            loss.backward()
            optimiser.step()
            ctx.log("estimator", step, loss=loss.detach())
        log_q, labels = look(held_N)
        score = {
            "accuracy": 100 * float((log_q.argmax(1) == labels).float().mean()),
            "log_likelihood": float(log_likelihood(log_q, labels)),
            "cmi": max(0.0, float(cmi(log_q, labels))),
        }
        state["scores"] = [*state["scores"], score]
        for name, value in net.state_dict().items():
            kept[f"rounds {name}"][part].copy_(value)
    chosen = best_round(state["scores"], informed)
    net.load_state_dict({name: kept[f"rounds {name}"][chosen] for name in net.state_dict()})
    some = train.sample_per_class(
        min(HELD, train.smallest_class), generator(0, "estimator centroids", "final")
    )
    log_q, labels = look(some.flatten().to(ctx.device))
    return {
        "weights": net.state_dict(),
        "centroids": centroids(log_q, labels),
        "record": state["scores"][chosen],
    }


def _batches(
    ctx: Context, kept_N: Tensor, encode: Callable[[Tensor], Tensor], first: int, last: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(step, noisy augmented inputs, labels) of the steps first .. last-1; each follows from its step."""
    families = _families(ctx)
    for step in range(first, last):
        draws = generator(0, "estimator", step, device=ctx.device)
        indices = kept_N[torch.randint(len(kept_N), (BATCH,), generator=draws, device=ctx.device)]
        images = _unit(ctx.dataset, indices)
        if families:
            drawn = augment.draw(families, 1, BATCH, generator(0, "estimator families", step), draws)
            images = augment.apply(drawn, images[None])[0]
        inputs = encode(images)
        sigma = NOISE * torch.rand(BATCH, 1, 1, 1, generator=draws, device=ctx.device)
        noise = torch.randn(inputs.shape, generator=draws, device=ctx.device)
        yield step, inputs + sigma * noise, ctx.dataset.train.labels[indices]


def _families(ctx: Context) -> str:
    """Of the families that keep the data set's labels, those of ordinary training."""
    return "_".join(family for family in ctx.dataset.augmentation.split("_") if family in ("crop", "flip"))


def _unit(images: Any, indices: Tensor) -> Tensor:
    return images.transform.inverse(images.train.images(indices)) * 2 - 1


def _network(ctx: Context, width: int, shape: tuple[int, int, int]) -> nn.Module:
    student = StudentConfig(name="convnet", width=width, norm=Norm.group)
    net = models.build(student, channels=shape[0], num_classes=ctx.dataset.num_classes, resolution=shape[1])
    return net.to(ctx.device)
