"""Trajectory matching: synthetic images on which a network walks where networks walk on real images (MTT,
CVPR 2022).

Legend: P weights of a network, all in one vector theta; E epochs of an expert; n images of a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench import augment, models, training
from distill_bench.groups import Recipe, Schedule
from distill_bench.seeding import derive

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.groups import StudentConfig
    from distill_bench.running import Run

__all__ = [
    "FlatNetwork",
    "TrajectorySettings",
    "expert_trajectory",
    "match_trajectories",
    "student_step",
    "trajectory_distance",
]

MAPS_OF_GRAPH = 10  # largest maps of an image that the graph of its gradient takes: 8 measured on ConvNet-3
CPU_GRAPHS, GPU_GRAPHS = 1 << 31, 1 << 34  # bytes of the graphs that are kept: bounds memory; not tuned


class TrajectorySettings(Protocol):
    """What the loop needs of a method's Config."""

    iterations: int
    syn_steps: int
    expert_epochs: int
    max_start_epoch: int
    batch_syn: int
    lr_image: float
    lr_alpha: float
    alpha0: float
    alpha_min: float
    momentum_image: float
    experts: int
    train_epochs: int
    lr_expert: float
    batch_real: int
    augment: bool


class FlatNetwork:
    """A network as a function of its weights in one vector theta (P,), in the order of its parameters."""

    def __init__(self, net: nn.Module) -> None:
        models.differentiate_twice(net)
        self.net = net
        self.names, parameters = zip(*net.named_parameters(), strict=True)
        self.shapes = [parameter.shape for parameter in parameters]
        self.sizes = [parameter.numel() for parameter in parameters]

    def __call__(self, theta_P: Tensor, images: Tensor) -> Tensor:
        """Logits of the images (n, C, H, W); differentiable in both."""
        parts = theta_P.split(self.sizes)
        weights = {
            name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
        return torch.func.functional_call(self.net, weights, (images,))

    def theta(self) -> Tensor:
        """The network's own weights, as a new vector."""
        return torch.cat([parameter.detach().flatten() for parameter in self.net.parameters()])

    def gradient(
        self, theta_P: Tensor, images: Tensor, labels: Tensor, *, create_graph: bool = False
    ) -> Tensor:
        """Gradient (P,) of the summed cross-entropy."""
        loss = F.cross_entropy(self(theta_P, images), labels, reduction="sum")
        return torch.autograd.grad(loss, theta_P, create_graph=create_graph)[0]


def student_step(
    network: FlatNetwork,
    theta_P: Tensor,
    images: Tensor,
    labels: Tensor,
    alpha: Tensor,
    *,
    keep: bool = False,
) -> Tensor:
    r"""One step of gradient descent on the synthetic images: theta - alpha g, g the gradient of the mean
    cross-entropy.

    Differentiable once, in the weights, the images and alpha. Without `keep` no activation is kept for that:
    going back, the step is computed again (with instance norm to the same bits). For the gradient v that
    arrives

    .. math:: \bar\theta = v - \alpha \nabla_\theta \langle g, v \rangle, \quad
        \bar x = -\alpha \nabla_x \langle g, v \rangle, \quad \bar\alpha = -\langle g, v \rangle

    so that memory grows with the number of steps by theta and the images alone, or with `keep` by the graph
    of the gradient too, which saves a third of the time. Exact.
    """
    return _Step.apply(theta_P, images, alpha, labels, network, keep)


def kept_graphs(net: nn.Module, count: int, device: torch.device) -> int:
    """How many steps on `count` images each may keep their graphs."""
    if not isinstance(net, models.Network):
        return 0
    limit = CPU_GRAPHS if device.type == "cpu" else GPU_GRAPHS
    return limit // (4 * MAPS_OF_GRAPH * net.largest_map * count)


class _Step(torch.autograd.Function):
    """`student_step`; images go through in pieces whose activations stay in the cache, where that changes
    nothing."""

    @staticmethod
    def forward(
        ctx: Any,
        theta: Tensor,
        images: Tensor,
        alpha: Tensor,
        labels: Tensor,
        network: FlatNetwork,
        keep: bool,
    ) -> Tensor:
        ctx.network, ctx.kept = network, []
        total = torch.zeros_like(theta)
        leaf = theta.detach().requires_grad_()
        for piece, answers in _pieces(network, images, labels):
            inputs, gradient = _differentiable(network, leaf, piece, answers, keep)
            total += gradient.detach()
            if keep:
                ctx.kept.append((leaf, inputs, gradient))
        mean = total / len(images)
        ctx.save_for_backward(theta, images, alpha, labels, mean)
        return theta - alpha * mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        theta, images, alpha, labels, mean = ctx.saved_tensors
        arrived, factor = gradients[0], alpha / len(images)
        back, pixels = arrived.clone(), []
        leaf = theta.detach().requires_grad_()
        again = (
            (leaf, *_differentiable(ctx.network, leaf, piece, answers, True))
            for piece, answers in _pieces(ctx.network, images, labels)
        )
        for weights, inputs, gradient in ctx.kept or again:
            of_theta, of_pixels = torch.autograd.grad(gradient, [weights, inputs], arrived)
            back -= factor * of_theta
            pixels.append(-factor * of_pixels)
        ctx.kept = []
        return back, torch.cat(pixels), -(mean * arrived).sum(), None, None, None


def _differentiable(
    network: FlatNetwork, leaf: Tensor, piece: Tensor, answers: Tensor, create_graph: bool
) -> tuple[Tensor, Tensor]:
    """The images as a leaf of their own, and the gradient; with `create_graph` differentiable in both
    leaves."""
    with torch.enable_grad():
        inputs = piece.detach().requires_grad_(create_graph)
        return inputs, network.gradient(leaf, inputs, answers, create_graph=create_graph)


def _pieces(network: FlatNetwork, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = training.images_per_pass(network.net, images.device) or len(images)
    size = math.ceil(len(images) / math.ceil(len(images) / size))
    yield from zip(images.split(size), labels.split(size), strict=True)


def trajectory_distance(end_P: Tensor, start_P: Tensor, target_P: Tensor) -> Tensor:
    r"""How far the student's end is from where the expert went, for the length of the expert's own way:

    .. math:: L = \|\hat\theta_{t+N} - \theta^*_{t+M}\|_2^2 / \|\theta^*_t - \theta^*_{t+M}\|_2^2

    1 if the student does not move, 0 if it arrives; 0 too where the expert did not move, which leaves nothing
    to match.
    """
    way = (start_P - target_P).square().sum()
    moved = way > 0
    return torch.where(moved, (end_P - target_P).square().sum(), 0.0) / torch.where(moved, way, 1.0)


def expert_trajectory(
    run: Run, data: ImageDataset, student: StudentConfig, cfg: TrajectorySettings, number: int
) -> Tensor:
    """Weights (E + 1, P) of one expert before and after each epoch on the real data; made once and cached, in
    float32.

    SGD without momentum or decay, with augmentation. Experts do not depend on the run's seed; batch norm's
    statistics are no part of them.
    """
    recipe = Recipe(
        lr=cfg.lr_expert,
        schedule=Schedule.constant,
        momentum=0.0,
        weight_decay=0.0,
        batch_size=cfg.batch_real,
        augment=cfg.augment,
    )
    parts = {
        "data": data.fingerprint,
        "student": student.identity(),
        "families": data.augmentation,
        "expert": number,
        **{key: getattr(cfg, key) for key in ("train_epochs", "lr_expert", "batch_real", "augment")},
    }

    def make(part: Run) -> dict[str, Tensor]:
        net = models.for_data(student, data).to(part.device).train()
        flat = FlatNetwork(net)
        walk = torch.zeros(cfg.train_epochs + 1, flat.theta().numel(), device=part.device)

        def note(epoch: int, _loss: Tensor) -> None:
            walk[epoch] = flat.theta()

        training.train_students(
            lambda: net,
            data.train.images,
            data.train.labels,
            recipe,
            epochs=cfg.train_epochs,
            seeds=[derive(0, "expert", number)],
            augmentation=data.augmentation,
            device=part.device,
            loop=lambda _, total, state: part.loop(f"expert-{number}", total, {**state, "walk": walk}),
            on_epoch=note,
        )
        return {"walk": walk}

    walk: Tensor = run.cached("trajectory", parts, make)["walk"]
    return walk


def match_trajectories(
    run: Run, data: ImageDataset, student: StudentConfig, start_KICHW: Tensor, cfg: TrajectorySettings
) -> tuple[Tensor, float]:
    """The loop of MTT. In each iteration

    1. draw an expert and an epoch t below `max_start_epoch`; the student starts at the expert's weights;
    2. take `syn_steps` steps of `student_step` on random minibatches of the synthetic images, augmented;
    3. step on the pixels and on the rate alpha by the gradient of `trajectory_distance` through all of these;
       alpha is kept at `alpha_min` or above.

    Returns the images (K IPC, C, H, W) that `start_KICHW` becomes, and alpha, with which networks are then
    trained on them.
    """
    last = cfg.max_start_epoch - 1 + cfg.expert_epochs  # the last epoch that is looked at
    experts = range(cfg.experts)
    walks = [expert_trajectory(run, data, student, cfg, number)[: last + 1].clone() for number in experts]
    images = start_KICHW.flatten(0, 1).clone().requires_grad_()
    alpha = torch.tensor(cfg.alpha0, device=run.device, requires_grad=True)
    labels = torch.arange(data.num_classes, device=run.device).repeat_interleave(start_KICHW.shape[1])
    optimiser = torch.optim.SGD(
        [{"params": [images], "lr": cfg.lr_image}, {"params": [alpha], "lr": cfg.lr_alpha}],
        momentum=cfg.momentum_image,
    )
    state = {"images": images, "alpha": alpha}
    for name, value in list(state.items()):
        state[f"momentum {name}"] = optimiser.state[value]["momentum_buffer"] = torch.zeros_like(value)
    network = FlatNetwork(models.for_data(student, data).to(run.device).train())
    kept = kept_graphs(network.net, min(cfg.batch_syn, len(images)) or len(images), run.device)
    strategy = data.augmentation if cfg.augment else ""

    for step in run.loop("distil", cfg.iterations, state):
        draws, choices = run.generator("distil", step), run.generator("choices", step, device="cpu")
        walk = walks[_integer(len(walks), choices)]
        first = _integer(cfg.max_start_epoch, choices)
        start, target = (walk[epoch].to(run.device) for epoch in (first, first + cfg.expert_epochs))
        theta = start
        for number, indices in enumerate(minibatches(len(images), cfg.batch_syn, cfg.syn_steps, draws)):
            batch = augmented(strategy, images[indices], draws, choices)
            theta = student_step(network, theta, batch, labels[indices], alpha, keep=number < kept)
        loss = trajectory_distance(theta, start, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            alpha.clamp_(min=cfg.alpha_min)
        spread = images.detach().std()
        run.log("distil", step, loss=loss.detach(), alpha=alpha.detach(), pixel_std=spread)
    return images.detach(), float(alpha.detach())


def minibatches(count: int, size: int, steps: int, draws: torch.Generator) -> Iterator[Tensor]:
    """Indices of `steps` minibatches: random epochs over 0 .. count-1 in pieces of `size`, the last one may
    be smaller; size 0, or one that is not below `count`: all of them in each."""
    size = min(size, count) or count
    done = 0
    while done < steps:
        order = torch.rand(count, generator=draws, device=draws.device).argsort()
        for piece in order.split(size)[: steps - done]:
            yield piece
            done += 1


def augmented(strategy: str, images: Tensor, draws: torch.Generator, choices: torch.Generator) -> Tensor:
    """The images (n, C, H, W) under one random family, its parameters drawn for each; without a strategy as
    they are."""
    if not strategy:
        return images
    draw = augment.draw(strategy, 1, len(images), choices, draws)
    return augment.apply(draw, images[None])[0]


def _integer(below: int, choices: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=choices))
