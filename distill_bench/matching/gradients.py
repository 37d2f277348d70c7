"""Gradient matching: synthetic images on which a network's gradients are those of real images, class by
class.

DC (Zhao, Mopuri and Bilen, ICLR 2021) and DSA (Zhao and Bilen, ICML 2021), which adds one siamese
augmentation for each class, are the same loop. Legend: G classes of one pass, n images of a class, P
parameters of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill_bench import augment, models, training

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from distill_bench.data import ImageDataset, Split
    from distill_bench.groups import StudentConfig
    from distill_bench.matching.settings import GradientSettings
    from distill_bench.running import Run

__all__ = [
    "ClassNetworks",
    "class_gradients",
    "gradient_distance",
    "loop_lengths",
    "match_gradients",
]

LENGTHS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}  # released code
EPSILON = 1e-6  # added to the product of two norms
BATCH_NORM_IMAGES = 16  # real images of each class that set the running statistics
INNER_BATCH = 256  # synthetic images of one step of the network

CPU_IMAGES = 64  # images of each class in one pass, at least, for classes to go together on a CPU: measured
GPU_MAP = 1 << 28  # bytes of the largest map of the synthetic images whose graph is held; not tuned


def loop_lengths(per_class: int, most_steps: int = 50, most_epochs: int = 50) -> tuple[int, int]:
    """(steps on the images in an iteration, epochs of the network after each but the last) by IPC, within
    bounds.

    At IPC 1, 10, 20, 30, 40, 50 those of the released code: (1, 1), (10, 50), (20, 25), (30, 20), (40, 15),
    (50, 10). Between them, and above 50, our choice: as many steps as images per class, at most 50, and
    epochs on the straight line between the two neighbours, rounded.
    """
    steps = min(per_class, max(LENGTHS))
    low = max(count for count in LENGTHS if count <= steps)
    high = min(count for count in LENGTHS if count >= steps)
    share = (steps - low) / max(high - low, 1)
    epochs = round(LENGTHS[low][1] + share * (LENGTHS[high][1] - LENGTHS[low][1]))
    return min(steps, most_steps), min(epochs, most_epochs)


def gradient_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor], kind: str = "ours") -> Tensor:
    r"""Distance of each class's gradients, (G,); arguments are (G, *shape) for each parameter of the network.

    `ours`, where i is an output unit of a layer, and parameters of one axis (biases, affine norms) count
    nothing:

    .. math:: D(A, B) = \sum_{layers} \sum_i \Bigl( 1 -
        \frac{\langle A_i, B_i \rangle}{\|A_i\| \|B_i\| + 10^{-6}} \Bigr)

    `cosine`: the same once, for all parameters in one vector; `mse`: the squared distance of these vectors.
    No gradient reaches `real`.
    """
    if kind == "ours":
        rows = [
            (a.detach().flatten(2), b.flatten(2)) for a, b in zip(real, synthetic, strict=True) if a.ndim > 2
        ]
        return torch.stack([_one_minus_cosine(a, b).sum(1) for a, b in rows]).sum(0)
    a_GP, b_GP = (torch.cat([part.flatten(1) for part in parts], dim=1) for parts in (real, synthetic))
    if kind == "cosine":
        return _one_minus_cosine(a_GP.detach(), b_GP)
    return (a_GP.detach() - b_GP).square().sum(1)


def _one_minus_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Over the last axis."""
    return 1 - (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + EPSILON)


def class_gradients(
    net: nn.Module, images_GnCHW: Tensor, labels_G: Tensor, *, create_graph: bool = False
) -> list[Tensor]:
    """Gradients of each class's mean cross-entropy, for each parameter (G, *shape), from `net` of G copies.

    One backward pass gives those of all classes, since copies share nothing. Images go through in pieces
    whose activations stay in the cache, where that cannot change the result.
    """
    parameters = list(net.parameters())
    classes, count = images_GnCHW.shape[:2]
    size = training.images_per_pass(net, images_GnCHW.device) or count
    total: Sequence[Tensor] = ()
    for piece in images_GnCHW.split(math.ceil(count / math.ceil(count / size)), dim=1):
        logits = net(piece if classes > 1 else piece[0]).flatten(0, -2)
        loss = F.cross_entropy(logits, labels_G.repeat_interleave(piece.shape[1]), reduction="sum") / count
        gradients = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        total = [a + b for a, b in zip(total, gradients, strict=True)] if total else gradients
    return [gradient.unflatten(0, (classes, -1)) for gradient in total]


class ClassNetworks:
    """One network, and modules of as many copies of it as classes go through one pass.

    On a CPU several classes go together where maps are small, and one by one where a pass over few images of
    one class fills the cache: there grouped convolutions were slower. On a GPU as many as memory allows (not
    measured). Networks of timm: one by one.
    """

    def __init__(self, net: nn.Module, num_classes: int, per_class: int) -> None:
        models.differentiate_twice(net)
        self.net = net
        limit = self._limit(net, per_class)
        parts = math.ceil(num_classes / min(num_classes, limit))
        self.together = math.ceil(num_classes / parts)
        self.rows = [
            slice(first, min(first + self.together, num_classes))
            for first in range(0, num_classes, self.together)
        ]
        self._modules: dict[int, nn.Module] = {1: net}

    def chunks(self) -> Iterator[tuple[slice, nn.Module]]:
        """Rows of classes and the module for them, whose weights and statistics are now those of the
        network."""
        for size in {rows.stop - rows.start for rows in self.rows}:
            _copy(self.net, self._module(size))
        for rows in self.rows:
            yield rows, self._module(rows.stop - rows.start).eval()

    def _module(self, size: int) -> nn.Module:
        if size not in self._modules:
            copies = self.net.times(size)  # type: ignore[operator]
            models.differentiate_twice(copies)
            self._modules[size] = copies.to(next(self.net.parameters()))
        return self._modules[size]

    @staticmethod
    def _limit(net: nn.Module, per_class: int) -> int:
        if not isinstance(net, models.Network):
            return 1
        device = next(net.parameters()).device
        if device.type != "cpu":
            return max(1, GPU_MAP // (4 * per_class * net.largest_map))
        return max(1, (training.images_per_pass(net, device) or 1) // CPU_IMAGES)


@torch.no_grad()
def _copy(net: nn.Module, together: nn.Module) -> None:
    """Give every copy in `together` the parameters and the buffers of `net`."""
    if together is net:
        return
    sources = [*net.parameters(), *net.buffers()]
    for target, source in zip([*together.parameters(), *together.buffers()], sources, strict=True):
        (target.unflatten(0, (-1, len(source))) if source.ndim else target).copy_(source)


def match_gradients(
    run: Run, data: ImageDataset, student: StudentConfig, start_KICHW: Tensor, cfg: GradientSettings
) -> Tensor:
    """The loop of DC and DSA. In each iteration, from a fresh random network,

    1. draw `batch_real` real images of each class and take all synthetic ones, with `augment` both under one
       draw for the class (siamese); with batch norm, 16 further real images of each class first set its
       statistics, which the matching then uses as constants;
    2. sum over classes the distance of the two gradients, the real one a constant, and take one step on the
       pixels;
    3. unless that was the last step, train the network on the synthetic images for some epochs; then go to 1.

    Returns the images that `start_KICHW` becomes.
    """
    images_KICHW = start_KICHW.clone().requires_grad_()
    per_class = images_KICHW.shape[1]
    outer, inner = loop_lengths(per_class, cfg.outer_loops, cfg.inner_epochs)
    labels = torch.arange(data.num_classes, device=run.device).repeat_interleave(per_class)
    optimiser = torch.optim.SGD([images_KICHW], lr=cfg.lr_image, momentum=cfg.momentum_image)
    momentum = optimiser.state[images_KICHW]["momentum_buffer"] = torch.zeros_like(images_KICHW)
    net = models.for_data(student, data).to(run.device)
    networks = ClassNetworks(net, data.num_classes, per_class)
    descent = torch.optim.SGD(net.parameters(), lr=cfg.lr_net)
    strategy = data.augmentation if cfg.augment else ""

    for step in run.loop("distil", cfg.iterations, {"images": images_KICHW, "momentum": momentum}):
        draws, families = run.generator("distil", step), run.generator("augment", step, device="cpu")
        models.reinitialise(net, draws)
        total = torch.zeros((), device=run.device)
        for turn in range(outer):
            if turn:
                flat = images_KICHW.detach().flatten(0, 1)
                train_network(net, descent, flat, labels, inner, strategy, draws, families)
            _set_statistics(net, data.train, draws)
            indices_KN = data.train.sample_per_class(cfg.batch_real, draws)
            same = augment.siamese(strategy, data.num_classes, families, draws)
            real = partial(_images, data.train, indices_KN)
            loss, images_KICHW.grad = image_gradient(networks, real, images_KICHW, same, cfg.distance.name)
            optimiser.step()
            total += loss
        mean = total / (outer * data.num_classes)
        run.log("distil", step, loss=mean, pixel_std=images_KICHW.detach().std())
    return images_KICHW.detach()


def image_gradient(
    networks: ClassNetworks,
    real: Callable[[slice], Tensor],
    images_KICHW: Tensor,
    same: augment.Siamese,
    kind: str,
) -> tuple[Tensor, Tensor]:
    """The distance summed over classes, and its gradient for the images; nothing is computed for the weights.

    A few classes at a time: the sum falls into classes, so the graph of the others need not be held.
    """
    total = images_KICHW.new_zeros(())
    parts: list[Tensor] = []
    labels_K = torch.arange(len(images_KICHW), device=images_KICHW.device)
    for rows, net in networks.chunks():
        target = class_gradients(net, same(real(rows), rows), labels_K[rows])
        synthetic = images_KICHW.detach()[rows].requires_grad_()
        mine = class_gradients(net, same(synthetic, rows), labels_K[rows], create_graph=True)
        loss = gradient_distance(target, mine, kind).sum()
        parts += torch.autograd.grad(loss, synthetic)
        total += loss.detach()
    return total, torch.cat(parts)


def train_network(
    net: nn.Module,
    descent: Optimizer,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    strategy: str,
    draws: torch.Generator,
    families: torch.Generator,
) -> None:
    """Train on the images (N, C, H, W): batches of 256, with `strategy` one family a batch, drawn for each
    image."""
    net.train()
    count, steps = len(images), math.ceil(len(images) / INNER_BATCH)
    order = torch.rand(epochs, count, generator=draws, device=images.device).argsort(1)
    names = augment.draw_families(strategy, epochs * steps, families)
    piece = training.images_per_pass(net, images.device) or INNER_BATCH
    for step in range(epochs * steps):
        indices = order[step // steps, (step % steps) * INNER_BATCH :][:INNER_BATCH]
        batch = images[indices]
        if strategy:
            uniforms = torch.rand(1, len(batch), augment.UNIFORMS, generator=draws, device=images.device)
            batch = augment.apply(augment.Draw((names[step],), uniforms), batch[None])[0]
        descent.zero_grad()
        for inputs, answers in zip(batch.split(piece), labels[indices].split(piece), strict=True):
            (F.cross_entropy(net(inputs), answers, reduction="sum") / len(batch)).backward()
        descent.step()


@torch.no_grad()
def _set_statistics(net: nn.Module, train: Split, draws: torch.Generator) -> None:
    """Let batch norm see real images of all classes once, as the released code does; other networks have
    none."""
    if any(isinstance(module, _BatchNorm) for module in net.modules()):
        net.train()(train.images(train.sample_per_class(BATCH_NORM_IMAGES, draws).flatten()))


def _images(train: Split, indices_KN: Tensor, rows: slice) -> Tensor:
    """Images (G, N, C, H, W) of some rows of classes."""
    indices_GN = indices_KN[rows]
    return train.images(indices_GN.flatten()).unflatten(0, indices_GN.shape)
