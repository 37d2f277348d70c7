"""D2M: Data-to-Model Distillation: Data-Efficient Learning Framework, Sajedi et al., ECCV 2024, arXiv
2411.12841.

Distils into the parameters of a pre-trained class-conditional generator in place of pixels: its images are to
have the channel attention and the softened predictions of real images of their class, in a pool of
classifiers. Any number of images per class is then drawn from the one generator, without distilling again.

There is no released code. Taken from public accounts of the paper: both terms, lambda = 10, tau = 4, the
direct matching of the last layer, real predictions as the target of the divergence. Our choice, where nothing
could be established: unit vectors inside the embedding term; class means in place of pairs (for independent
samples a pair's squared distance adds the variance within the class, and so draws the images of a class
together); the pool, its training, Adam, the average of the weights, frozen running statistics, and the
optional factor tau^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from distill_bench import augment, matching, models, products, seeding, training
from distill_bench.context import Context
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import GeneratorConfig, IpcConfig, ProtocolConfig, Schedule, StudentConfig
from distill_bench.metrics import Measure

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill_bench.data import ImageDataset
    from distill_bench.generative.latent import LatentGenerator
    from distill_bench.models import Features
    from distill_bench.products import SyntheticSet
    from distill_bench.running import Run

__all__ = [
    "INFO",
    "Config",
    "Pairing",
    "embedding_loss",
    "embeddings",
    "network_pool",
    "prediction_loss",
    "run",
]

FEW_CLASSES = 20  # up to which a step takes all classes
SUBSET = 10  # classes of a step beyond
BETAS = (0.9, 0.999)  # of Adam
CLIP = 1.0  # norm of the gradient


class Pairing(Enum):
    """What of the real and the generated images of a class is compared."""

    class_mean = "class_mean"  # their means
    paired = "paired"  # image by image, in the order drawn


@dataclass(kw_only=True)
class Config:
    """Hyper-parameters; only `prediction_weight` and `temperature` are known to be the paper's."""

    name: str = "d2m"
    distil: bool = True  # false: images of the generator as pre-trained, the baseline
    iterations: int = 10_000  # optimisation steps on the generator's parameters
    lr_generator: float = 0.0  # Adam rate, 0: 1e-3 for a cvae, 1e-4 for the GANs
    batch_real: int = 32  # real images per class and step, and as many generated ones
    power: float = 4.0  # p of the channel attention, >= 1
    embedding_weight: float = 1.0  # of the embedding term, >= 0
    prediction_weight: float = 10.0  # lambda, of the prediction term, >= 0
    temperature: float = 4.0  # tau of the predictions, > 0
    kd_scale: bool = False  # multiply the prediction term by tau^2
    pairing: Pairing = Pairing.class_mean  # class_mean | paired
    classes_per_step: int = 0  # 0: all classes up to 20, else 10 drawn at random
    pool_size: int = 10  # M, networks of the pool
    pool_steps: int = 2000  # training steps of its last network; the others stop earlier
    average: float = 0.999  # decay of the average of the generator's weights, in [0, 1)
    augment: bool = True  # siamese augmentation, one draw per class and step

    def __post_init__(self) -> None:
        require(self.iterations >= 0, "method.iterations", self.iterations, ">= 0")
        require(self.power >= 1, "method.power", self.power, ">= 1")
        require(self.temperature > 0, "method.temperature", self.temperature, "> 0")
        require(0 <= self.average < 1, "method.average", self.average, "in [0, 1)")
        for key in (
            "lr_generator",
            "embedding_weight",
            "prediction_weight",
            "classes_per_step",
            "pool_steps",
        ):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")
        for key in ("batch_real", "pool_size"):
            require(getattr(self, key) >= 1, f"method.{key}", getattr(self, key), ">= 1")
        fits = self.embedding_weight + self.prediction_weight > 0
        require(fits, "method.(embedding_weight, prediction_weight)", "(0, 0)", "> 0 in one at least")


def _distils(cfg: Config) -> bool:
    return cfg.distil and cfg.iterations > 0


INFO = MethodInfo(
    task="dataset_distillation",
    paper="Data-to-Model Distillation: Data-Efficient Learning Framework, ECCV 2024, arXiv 2411.12841",
    summary="distils into a generator's parameters; any number of images is then drawn from it",
    uses=("dataset", "ipc", "generator"),
    uses_when={"student": _distils, "protocol": _distils},  # for the pool
)


def run(ctx: Context, cfg: Config) -> SyntheticSet:
    r"""Distil into the parameters :math:`\phi` of G, and draw IPC images of each class from it:

    .. math:: \min_\phi L_{EM} + \lambda L_{PM}

    of real images and of G(z, y), z standard normal, in networks drawn from a pool. Nothing but the drawing
    depends on IPC: another one takes the distilled generator from the cache, and its first images are the
    same.
    """
    from distill_bench.generative import latent

    data, config = ctx.dataset, ctx.group(GeneratorConfig)
    generator = latent.load_latent(ctx, data, config)
    if _distils(cfg):
        student, protocol = ctx.group(StudentConfig), ctx.group(ProtocolConfig)
        generator = distilled_generator(ctx, data, student, protocol, cfg, generator)
    noise = latent.class_noise(ctx.seed, data.num_classes, ctx.group(IpcConfig).drawn, generator.noise)
    images = latent.draw_images(generator, noise, config.sampling_batch)
    file = ctx.folder / "generator.safetensors"
    latent.save_latent(file, generator)
    storage = Measure(name="storage", values=[file.stat().st_size / 1e6])
    return products.synthetic_set(
        data, _normalised(data, images.flatten(0, 1)), measures=(storage,), artifacts={"generator": file.name}
    )


def embeddings(features: Features, power: float) -> list[Tensor]:
    """What the embedding term compares: unit vectors (B, D_l), `channel_attention` of all blocks but the
    last, whose pooled output is taken as it is, flattened and normalised."""
    attention = [matching.channel_attention(maps, power) for maps in features.maps[:-1]]
    return [*attention, torch.nn.functional.normalize(features.embedding, dim=1, eps=1e-12)]


def embedding_loss(real: Sequence[Tensor], drawn: Sequence[Tensor], pairing: Pairing) -> Tensor:
    r"""L_EM, from the embeddings (K, n, D_l) of each layer:

    .. math:: L_{EM} = \frac{1}{L K} \sum_{l,k} \| \bar z^T_{k,l} - \bar z^S_{k,l} \|_2^2

    where the bar is the class mean; paired: the mean over i of :math:`\| z^T_{k,l,i} - z^S_{k,l,i} \|_2^2`.
    """
    if pairing is Pairing.class_mean:
        terms = [(t.mean(1) - s.mean(1)).square().sum(1).mean() for t, s in zip(real, drawn, strict=True)]
    else:
        terms = [(t - s).square().sum(2).mean() for t, s in zip(real, drawn, strict=True)]
    return torch.stack(terms).mean()


def prediction_loss(real_KNC: Tensor, drawn_KNC: Tensor, temperature: float, pairing: Pairing) -> Tensor:
    r"""L_PM, from the logits o of n images of each of K classes:

    .. math:: L_{PM} = \frac{1}{K} \sum_k \operatorname{KL}(P^T_k \| P^S_k), \quad
        P_k = \overline{\operatorname{softmax}(o / \tau)}

    paired: the mean over i of the divergence of image i's own predictions. Computed in logarithms.
    """
    real, drawn = (torch.log_softmax(o / temperature, dim=-1) for o in (real_KNC, drawn_KNC))
    if pairing is Pairing.class_mean:
        real, drawn = (x.logsumexp(1, keepdim=True) - math.log(x.shape[1]) for x in (real, drawn))
    return (real.exp() * (real - drawn)).sum(-1).mean()


def objective(
    real: tuple[list[Tensor], Tensor], drawn: tuple[list[Tensor], Tensor], cfg: Config
) -> dict[str, Tensor]:
    """Both terms and their weighted sum, `loss`, from (embeddings, logits) of real and of generated images.

    A term of weight 0 is left out of the sum.
    """
    embedding = embedding_loss(real[0], drawn[0], cfg.pairing)
    prediction = prediction_loss(real[1], drawn[1], cfg.temperature, cfg.pairing)
    weight = cfg.prediction_weight * (cfg.temperature**2 if cfg.kd_scale else 1)
    terms = [w * term for w, term in ((cfg.embedding_weight, embedding), (weight, prediction)) if w]
    return {"loss": torch.stack(terms).sum(), "embedding": embedding, "prediction": prediction}


def distilled_generator(
    run: Run,
    data: ImageDataset,
    student: StudentConfig,
    protocol: ProtocolConfig,
    cfg: Config,
    start: LatentGenerator,
) -> LatentGenerator:
    """The generator after distillation, from the cache if any IPC has asked for it before."""
    from distill_bench.generative import latent

    fields = {key: getattr(value, "name", value) for key, value in asdict(cfg).items() if key != "distil"}
    parts = {
        "method": fields,
        "generator": latent.weights_digest(start),
        "data": data.fingerprint,
        "seed": run.seed,
        **training.student_parts(data, student, protocol),
    }
    weights = run.cached(
        "distilled_generator", parts, lambda part: _distil(part, data, student, protocol, cfg, start)
    )
    return _copy(start, weights, run.device)


def _distil(
    run: Run,
    data: ImageDataset,
    student: StudentConfig,
    protocol: ProtocolConfig,
    cfg: Config,
    start: LatentGenerator,
) -> dict[str, Tensor]:
    """The averaged weights of the distilled generator.

    1. Draw a network from the pool, and classes; n real images of each, and n latent vectors.
    2. One siamese augmentation per class, the same for its real and its generated images.
    3. `objective`; step of Adam on the generator's parameters, all running statistics frozen.
    """
    from distill_bench.generative import latent

    generator, average = (_copy(start, start.state_dict(), run.device) for _ in range(2))
    generator.requires_grad_(True)
    rate = cfg.lr_generator or (1e-3 if start.shape.kind == "cvae" else 1e-4)
    optimiser = torch.optim.Adam(generator.parameters(), lr=rate, betas=BETAS)
    pool = network_pool(run, data, student, protocol, cfg)
    net = models.for_data(student, data).to(run.device).eval().requires_grad_(False)

    state = {"generator": generator, "average": average, "optimiser": optimiser}
    for step in run.loop("distil", cfg.iterations, state):
        net.load_state_dict(pool[_pick(run, step, len(pool))])
        losses = _losses(run, data, cfg, generator, net, step)
        optimiser.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), CLIP)
        optimiser.step()
        latent.update_average_of(average, generator, step, cfg.average)
        run.log("distil", step, **{name: value.detach() for name, value in losses.items()})
    return average.state_dict()


def _losses(
    run: Run, data: ImageDataset, cfg: Config, generator: LatentGenerator, net: nn.Module, step: int
) -> dict[str, Tensor]:
    """The terms of one step, on fresh real images and latent vectors."""
    train, n = data.train, cfg.batch_real
    draws = run.generator("distil", step)
    classes = _classes(run, data, cfg, step)
    strategy = data.augmentation if cfg.augment else ""
    same = augment.siamese(strategy, len(classes), run.generator("augment", step, device="cpu"), draws)
    every = slice(0, len(classes))
    with torch.no_grad():
        images = train.images(train.sample_per_class(n, draws)[classes].flatten())
        real = _observed(net, same(images.unflatten(0, (-1, n)), every), cfg.power)
    noise = torch.randn(len(classes) * n, generator.noise, generator=draws, device=run.device)
    images = _normalised(data, generator(noise, classes.repeat_interleave(n)))
    return objective(real, _observed(net, same(images.unflatten(0, (-1, n)), every), cfg.power), cfg)


def _observed(net: nn.Module, images_KNCHW: Tensor, power: float) -> tuple[list[Tensor], Tensor]:
    """Embeddings (K, n, D_l) of each layer, and logits (K, n, C), in passes whose activations stay in the
    cache."""
    images = images_KNCHW.flatten(0, 1)
    size = training.images_per_pass(net, images.device) or len(images)
    parts = []
    for piece in images.split(size):
        features = net(piece, features=True)
        parts.append([*embeddings(features, power), features.logits])
    joined = [torch.cat(layer).unflatten(0, images_KNCHW.shape[:2]) for layer in zip(*parts, strict=True)]
    return joined[:-1], joined[-1]


def _classes(run: Run, data: ImageDataset, cfg: Config, step: int) -> Tensor:
    """The classes of a step: all, or a random subset, over which the mean stays unbiased."""
    total = data.num_classes
    count = min(total, cfg.classes_per_step or (total if total <= FEW_CLASSES else SUBSET))
    if count == total:
        return torch.arange(total, device=run.device)
    order = torch.randperm(total, generator=run.generator("classes", step, device="cpu"))
    return order[:count].sort().values.to(run.device)


def _pick(run: Run, step: int, count: int) -> int:
    return int(torch.randint(count, (), generator=run.generator("pool", step, device="cpu")))


def network_pool(
    run: Run, data: ImageDataset, student: StudentConfig, protocol: ProtocolConfig, cfg: Config
) -> list[dict[str, Tensor]]:
    """Weights of M networks like the student, at stages of training from none to `pool_steps`; cached.

    The first is as initialised, the last trained to the end, the others stop at random steps. They are
    trained by the SGD of networks of the whole training set, at its first rate. All seeds and all IPC share
    the pool, as they share the networks of the ceiling.
    """
    recipe = protocol.full_data()

    def make(part: Run) -> dict[str, Any]:
        stages = enumerate(_stages(cfg))
        return {"weights": [_trained(part, data, student, recipe, i, steps) for i, steps in stages]}

    parts = {"size": cfg.pool_size, "steps": cfg.pool_steps, "data": data.fingerprint}
    parts |= training.student_parts(data, student, protocol)
    pool = run.cached("network_pool", parts, make)["weights"]
    return [{name: value.to(run.device) for name, value in weights.items()} for weights in pool]


def _stages(cfg: Config) -> list[int]:
    """Training steps of each network of the pool."""
    between = torch.rand(cfg.pool_size, generator=seeding.generator(0, "pool stages")).sort().values
    stages = [round(share * cfg.pool_steps) for share in between.tolist()]
    stages[0], stages[-1] = 0, cfg.pool_steps
    return stages


def _trained(
    run: Run, data: ImageDataset, student: StudentConfig, recipe: ProtocolConfig, index: int, steps: int
) -> dict[str, Tensor]:
    """The weights of network `index` of the pool after `steps` steps on random training batches."""
    net = models.for_data(student, data).to(run.device).train()
    models.reinitialise(net, seeding.generator(0, "pool", index, device=run.device))
    strategy = data.augmentation if recipe.augment else ""

    def draw(step: int) -> tuple[Tensor, Tensor]:
        draws = seeding.generator(0, "pool", index, step, device=run.device)
        indices = torch.randint(len(data.train), (recipe.batch_size,), generator=draws, device=run.device)
        images = data.train.images(indices)
        if strategy:
            families = seeding.generator(0, "pool families", index, step)
            images = augment.apply(augment.draw(strategy, 1, len(images), families, draws), images[None])[0]
        return images, data.train.labels[indices]

    if steps:
        training.fit(
            net,
            training.DrawnBatches(draw, steps),
            replace(recipe, schedule=Schedule.constant),
            epochs=1,
            objective=training.CrossEntropy(),
            loop=lambda _, total, state: run.loop(f"pool-{index}", total, state),
            log=lambda step, loss: run.log(f"pool-{index}", step, loss=loss),
        )
    return net.state_dict()


def _copy(like: LatentGenerator, weights: dict[str, Tensor], device: torch.device) -> LatentGenerator:
    """A generator of its own with these weights, frozen and in evaluation mode."""
    from distill_bench.generative import latent

    copy = latent.build_generator(like.shape)
    copy.load_state_dict(weights)
    return copy.to(device).eval().requires_grad_(False)


def _normalised(data: ImageDataset, images: Tensor) -> Tensor:
    """Images in [-1, 1] as networks learn from them; differentiable."""
    return data.transform.forward_unit((images + 1) / 2)
