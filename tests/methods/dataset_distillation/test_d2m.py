"""Laws of D2M: its two terms, what a step changes, one artefact for every size, and a small real
experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_bench import augment, matching, models
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.generative import latent
from distill_bench.groups import ProtocolConfig, StudentConfig
from distill_bench.interrupt import Interrupted
from distill_bench.methods.dataset_distillation import d2m
from distill_bench.methods.dataset_distillation.d2m import Config, Pairing
from distill_bench.products import load_product
from distill_bench.running import Run
from tests.generative.rooms import latent_of

MakeContext = Callable[..., Context]
RunCell = Callable[..., dict[str, Any]]
WORDS = [
    "method=d2m",
    "dataset=digits",
    "ipc=1",
    "profile=smoke",
    "method.pool_size=2",
    "method.pool_steps=3",
]
QUICK: dict[str, Any] = {"iterations": 3, "batch_real": 4, "pool_size": 2, "pool_steps": 3}
BOTH = pytest.mark.parametrize("pairing", list(Pairing), ids=lambda p: p.name)


def units(seed: int, layers: tuple[int, ...] = (5, 7)) -> list[Tensor]:
    """Embeddings (3, 6, D_l): unit vectors without negative entries, like attention."""
    draws = torch.Generator().manual_seed(seed)
    values = [torch.randn(3, 6, size, generator=draws, dtype=torch.float64).abs() for size in layers]
    return [torch.nn.functional.normalize(v, dim=2) for v in values]


def logits(seed: int, n: int = 6) -> Tensor:
    return 3 * torch.randn(3, n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_both_terms_are_0_for_the_same_images_of_a_class_in_any_order() -> None:
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for pairing, same in ((Pairing.class_mean, True), (Pairing.paired, False)):
        embedding = d2m.embedding_loss(units(0), [z[:, order] for z in units(0)], pairing)
        prediction = d2m.prediction_loss(logits(0), logits(0)[:, order], 4.0, pairing)
        assert (float(embedding) < 1e-15) is same
        assert (float(prediction) < 1e-12) is same
        assert float(d2m.embedding_loss(units(0), units(0), pairing)) == 0
        assert abs(float(d2m.prediction_loss(logits(0), logits(0), 4.0, pairing))) < 1e-15


@BOTH
def test_both_terms_are_positive_and_a_layer_gives_at_most_2(pairing: Pairing) -> None:
    assert 0 < d2m.embedding_loss(units(0), units(1), pairing) <= 2
    apart = [torch.tensor([1.0, 0]).expand(3, 6, 2)], [torch.tensor([0, 1.0]).expand(3, 6, 2)]
    assert float(d2m.embedding_loss(*apart, pairing)) == 2
    assert d2m.prediction_loss(logits(0), logits(1), 4.0, pairing) > 0


def all_pairs(real: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Each image of a class beside each other one: (K, n m, D) twice."""
    return real.repeat_interleave(drawn.shape[1], dim=1), drawn.repeat(1, real.shape[1], 1)


def test_pairs_add_both_variances_to_the_distance_of_means() -> None:
    u, v = units(0)[0], units(1)[0]
    real, drawn = all_pairs(u, v)
    paired = d2m.embedding_loss([real], [drawn], Pairing.paired)
    means = d2m.embedding_loss([u], [v], Pairing.class_mean)
    spread = sum((x - x.mean(1, keepdim=True)).square().sum(2).mean() for x in (u, v))
    torch.testing.assert_close(paired, means + spread, rtol=1e-12, atol=0)


def test_pairs_cost_at_least_as_much_and_equal_only_without_spread() -> None:
    u, v = units(0)[0], units(1)[0]
    constant = [x[:, :1].expand_as(x) for x in (u, v)]
    for (a, b), equal in (((u, v), False), (constant, True)):
        real, drawn = all_pairs(a, b)
        excess = d2m.embedding_loss([real], [drawn], Pairing.paired) - d2m.embedding_loss(
            [a], [b], Pairing.class_mean
        )
        assert (float(excess) < 1e-12) is equal
    a, b = logits(0), logits(1)
    real, drawn = all_pairs(a, b)
    assert d2m.prediction_loss(real, drawn, 4.0, Pairing.paired) > d2m.prediction_loss(
        a, b, 4.0, Pairing.class_mean
    )


@BOTH
def test_a_constant_added_to_an_image_s_logits_changes_nothing(pairing: Pairing) -> None:
    shift = 5 * torch.randn(3, 6, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    before = d2m.prediction_loss(logits(0), logits(1), 4.0, pairing)
    torch.testing.assert_close(
        d2m.prediction_loss(logits(0) + shift, logits(1) - shift, 4.0, pairing), before
    )


def test_the_prediction_term_is_the_divergence_of_the_mean_predictions() -> None:
    p, q = ((o / 4).softmax(2).mean(1) for o in (logits(0), logits(1)))
    torch.testing.assert_close(p.sum(1), torch.ones(3).double())
    wanted = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(d2m.prediction_loss(logits(0), logits(1), 4.0, Pairing.class_mean), wanted)


def test_at_high_temperature_it_is_the_squared_distance_of_centred_logits() -> None:
    a, b = logits(0, n=1), logits(1, n=1)
    difference = a - b
    wanted = (difference - difference.mean(2, keepdim=True)).square().sum(2).mean() / (2 * a.shape[2])
    found = 1000.0**2 * d2m.prediction_loss(a, b, 1000.0, Pairing.class_mean)
    torch.testing.assert_close(found, wanted, rtol=5e-3, atol=0)


def gradient(cfg: Config) -> tuple[Tensor, Tensor]:
    """Of the loss, with respect to generated embeddings and logits."""
    z, o = units(1)[0].clone().requires_grad_(), logits(1).requires_grad_()
    loss = d2m.objective((units(0)[:1], logits(0)), ([z], o), cfg)["loss"]
    of_z, of_o = torch.autograd.grad(loss, (z, o), allow_unused=True)
    return torch.zeros_like(z) if of_z is None else of_z, torch.zeros_like(o) if of_o is None else of_o


def test_a_weight_of_0_removes_its_term_and_the_weights_are_linear() -> None:
    both = gradient(Config(prediction_weight=10))
    without_prediction = gradient(Config(prediction_weight=0))
    without_embedding = gradient(Config(embedding_weight=0))
    assert not without_prediction[1].any() and torch.equal(without_prediction[0], both[0])
    assert not without_embedding[0].any() and torch.equal(without_embedding[1], both[1])
    torch.testing.assert_close(gradient(Config(prediction_weight=10, kd_scale=True))[1], 16 * both[1])
    with pytest.raises(UserError, match="embedding_weight, prediction_weight"):
        Config(embedding_weight=0, prediction_weight=0)


def test_embeddings_are_channel_attention_that_ignores_scale_and_place_but_for_the_last_layer() -> None:
    draws = torch.Generator().manual_seed(0)
    maps = [torch.randn(4, 6, 5, 5, generator=draws).relu() for _ in range(3)]
    features: Any = SimpleNamespace(maps=maps, embedding=maps[2].flatten(1))
    before = d2m.embeddings(features, 4.0)
    assert [z.shape for z in before] == [(4, 6), (4, 6), (4, 150)]
    for z in before:
        torch.testing.assert_close(z.norm(dim=1), torch.ones(4))
    place = torch.randperm(25, generator=draws)
    moved = [50 * m.flatten(2)[:, :, place].unflatten(2, (5, 5)) for m in maps]
    features = SimpleNamespace(maps=moved, embedding=moved[2].flatten(1))
    after = d2m.embeddings(features, 4.0)
    torch.testing.assert_close(after[:2], before[:2])
    assert not torch.allclose(after[2], before[2])


class SmoothNet(torch.nn.Module):
    """Two blocks with softplus for ReLU, so that finite differences are meaningful."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Conv2d(3, 2, 3, padding=1)
        self.classifier = torch.nn.Linear(32, 2)

    def forward(self, x: Tensor, features: bool = True) -> SimpleNamespace:
        assert features
        one = torch.nn.functional.softplus(self.first(x))
        two = torch.nn.functional.softplus(self.second(one))
        return SimpleNamespace(
            maps=[one, two], embedding=two.flatten(1), logits=self.classifier(two.flatten(1))
        )


def observed(net: Any, images_KNCHW: Tensor) -> tuple[list[Tensor], Tensor]:
    features = net(images_KNCHW.flatten(0, 1))
    shape = images_KNCHW.shape[:2]
    return [z.unflatten(0, shape) for z in d2m.embeddings(features, 4.0)], features.logits.unflatten(0, shape)


@BOTH
def test_the_gradient_through_a_linear_generator_agrees_with_finite_differences(pairing: Pairing) -> None:
    net, cfg, draws = SmoothNet().double(), Config(pairing=pairing), torch.Generator().manual_seed(1)
    real = observed(net, torch.randn(2, 3, 1, 4, 4, generator=draws, dtype=torch.float64))
    z = torch.randn(2, 3, 3, generator=draws, dtype=torch.float64)
    phi = torch.randn(3, 16, generator=draws, dtype=torch.float64).requires_grad_()
    fixed = [part.detach() for part in real[0]], real[1].detach()
    assert torch.autograd.gradcheck(
        lambda w: d2m.objective(fixed, observed(net, (z @ w).view(2, 3, 1, 4, 4)), cfg)["loss"], (phi,)
    )


def test_a_table_of_images_gets_the_gradient_of_channel_attention_matching() -> None:
    net, draws = SmoothNet(), torch.Generator().manual_seed(1)
    real, table = (torch.randn(2, 3, 1, 4, 4, generator=draws) for _ in range(2))
    target = [z.detach() for z in observed(net, real)[0]]

    def of_table(x: Tensor) -> Tensor:
        return d2m.embedding_loss(target, observed(net, x)[0], Pairing.class_mean)

    def of_pixels(x: Tensor) -> Tensor:
        features = net(x.flatten(0, 1))
        layers = [
            matching.channel_attention(features.maps[0], 4.0),
            torch.nn.functional.normalize(features.embedding),
        ]
        means = [z.unflatten(0, (2, 3)).mean(1) for z in layers]
        return sum((t.mean(1) - m).square().sum() for t, m in zip(target, means, strict=True))

    found, wanted = (
        torch.autograd.grad(loss(x := table.clone().requires_grad_()), x)[0] for loss in (of_table, of_pixels)
    )
    torch.testing.assert_close(found, wanted / (2 * 2))  # K classes, L layers


@pytest.mark.parametrize("student", ["convnet", "convnet_bn"])
def test_a_step_changes_the_parameters_of_the_generator_and_nothing_else(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch, student: str
) -> None:
    ctx = context(*WORDS, f"student={student}", "generator=small_cgan")
    pool = d2m.network_pool(ctx, ctx.dataset, *networks(ctx), Config(**QUICK))
    kept = [{name: value.clone() for name, value in weights.items()} for weights in pool]
    monkeypatch.setattr(d2m, "network_pool", lambda *_: pool)
    net = network_of(ctx)
    monkeypatch.setattr(models, "for_data", lambda *_: net)
    start = latent_of(ctx)
    digest, images = latent.weights_digest(start), ctx.dataset.train.images(torch.arange(20)).clone()
    weights = d2m._distil(ctx, ctx.dataset, *networks(ctx), Config(**QUICK), start)
    assert latent.weights_digest(start) == digest
    assert torch.equal(ctx.dataset.train.images(torch.arange(20)), images)
    assert all(torch.equal(w[name], k[name]) for w, k in zip(pool, kept, strict=True) for name in k)
    last = net.state_dict()
    assert any(all(torch.equal(last[name], k[name]) for name in k) for k in kept)
    parameters = dict(start.named_parameters())
    assert {
        name for name, value in weights.items() if not torch.equal(value, start.state_dict()[name])
    } <= set(parameters)
    assert any(not torch.equal(weights[name], parameters[name]) for name in parameters)


def networks(ctx: Context) -> tuple[StudentConfig, ProtocolConfig]:
    """The groups on which the pool depends."""
    return ctx.group(StudentConfig), ctx.group(ProtocolConfig)


def network_of(ctx: Context) -> Any:
    """A network like those of the pool."""
    return models.for_data(ctx.group(StudentConfig), ctx.dataset)


def test_real_and_generated_images_of_a_class_share_one_augmentation(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(*WORDS, "dataset.augmentation=crop_scale")
    applied: list[tuple[augment.Draw, torch.Size]] = []
    module, apply = import_module("distill_bench.augment.siamese"), augment.apply

    def recorded(draw: augment.Draw, x: Tensor) -> Tensor:
        applied.append((draw, x.shape))
        return apply(draw, x)

    monkeypatch.setattr(module, "apply", recorded)
    start = latent_of(ctx)
    d2m._losses(ctx, ctx.dataset, Config(**QUICK), start, network_of(ctx).eval(), 0)
    (one, first), (other, second) = applied
    assert torch.equal(one.uniforms, other.uniforms) and one.uniforms.shape[:2] == (10, 1)
    assert first == second == (10, 4, 1, 8, 8)


def test_a_step_of_many_classes_takes_a_random_subset(context: MakeContext) -> None:
    ctx = context(*WORDS)
    assert d2m._classes(ctx, ctx.dataset, Config(), 0).tolist() == list(range(10))
    subsets = [
        d2m._classes(ctx, ctx.dataset, Config(classes_per_step=3), step).tolist() for step in range(300)
    ]
    assert all(len(set(s)) == 3 for s in subsets)
    counts = torch.tensor(subsets).flatten().bincount(minlength=10)
    assert counts.min() > 60 and counts.max() < 120


def test_the_pool_holds_stages_of_training_from_none_to_the_last(context: MakeContext) -> None:
    ctx, cfg = context(*WORDS), Config(pool_size=3, pool_steps=40)
    assert d2m._stages(cfg)[0] == 0 and d2m._stages(cfg)[-1] == 40
    images, labels = next(ctx.dataset.test.batches(500))
    right = []
    for weights in d2m.network_pool(ctx, ctx.dataset, *networks(ctx), cfg):
        net = network_of(ctx).eval()
        net.load_state_dict(weights)
        right.append(float((net(images).argmax(1) == labels).float().mean()))
    assert right[-1] > right[0] + 0.15


def test_another_size_only_draws_from_the_generator_that_is_there(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = Config(**QUICK)
    first = context(*WORDS)
    one = d2m.run(first, cfg)
    ten = context(*WORDS, "ipc=10")
    with monkeypatch.context() as patched:
        patched.setattr(Run, "loop", lambda *_: pytest.fail("a loop was run"))
        more = d2m.run(ten, cfg)
    files = [ctx.folder / "generator.safetensors" for ctx in (first, ten)]
    assert files[0] != files[1]
    assert len({latent.weights_digest(latent.read_latent(file)) for file in files}) == 1
    assert one.measures == more.measures
    assert one.measures[0].values == [files[0].stat().st_size / 1e6]
    assert more.labels.tolist() == [k for k in range(10) for _ in range(10)]
    torch.testing.assert_close(more.images.unflatten(0, (10, 10))[:, 0], one.images, atol=1e-5, rtol=1e-5)
    other = context(*WORDS, "seed=1")
    assert not torch.allclose(d2m.run(other, cfg).images, one.images, atol=1e-3)


def test_a_distillation_that_was_stopped_goes_on_to_the_same_bits(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    cfg = Config(**QUICK | {"iterations": 8})
    whole = d2m.run(context(*WORDS), cfg).images
    ctx = context(*WORDS, "ipc=2")
    ctx.cache.root = tmp_path / "another"
    steps = list[int]()

    def stop(run: Run, phase: str, step: int, **values: object) -> None:  # noqa: ARG001
        if phase == "distil":
            steps.append(step)
            run.interrupt.requested = len(steps) == 5

    monkeypatch.setattr(Run, "log", stop)
    with pytest.raises(Interrupted):
        d2m.run(ctx, cfg)
    ctx.interrupt.requested = False
    resumed = d2m.run(ctx, cfg).images.unflatten(0, (10, 2))[:, 0]
    assert steps == list(range(8))  # none of them twice
    torch.testing.assert_close(resumed, whole, atol=1e-6, rtol=1e-5)
    again = latent.read_latent(ctx.folder / "generator.safetensors")
    first = latent.read_latent(context(*WORDS).folder / "generator.safetensors")
    assert latent.weights_digest(again) == latent.weights_digest(first)


def test_without_distillation_it_draws_from_the_generator_as_trained(context: MakeContext) -> None:
    ctx = context(*WORDS)
    start = latent_of(ctx)
    wanted = latent.draw_images(start, latent.class_noise(0, 10, 1, start.noise), 64)[:, 0]
    for cfg in (Config(iterations=0), Config(distil=False)):
        product = d2m.run(ctx, cfg)
        torch.testing.assert_close(product.images, ctx.dataset.transform.forward_unit((wanted + 1) / 2))
    assert not torch.allclose(d2m.run(ctx, Config(**QUICK)).images, product.images, atol=1e-4)


def test_whitened_images_are_matched_as_the_networks_see_them(context: MakeContext) -> None:
    product = d2m.run(context(*WORDS, "dataset.zca=true"), Config(**QUICK))
    assert product.images.isfinite().all()


def test_the_generator_of_a_run_can_be_read_by_another(run_cell: RunCell, tmp_path: Any) -> None:
    made = run_cell(*WORDS)
    file = tmp_path / "products" / made["product"]["id"] / made["product"]["artifacts"]["generator"]
    read = run_cell(*WORDS, "generator=checkpoint", f"generator.path={file}", "method.distil=false")
    images = [load_product(tmp_path / "products" / r["product"]["id"]).images for r in (made, read)]
    assert torch.equal(*images)


def test_the_product_depends_on_student_and_protocol_only_if_there_is_a_pool(
    plan: Callable[..., Any],
) -> None:
    def product(*words: str) -> str:
        product_id: str = plan(*WORDS, *words).product.product_id
        return product_id

    undistilled, other = ["method.distil=false"], ["student=convnet_bn", "protocol.lr=0.02"]
    assert product(*undistilled) == product(*undistilled, *other)
    assert product() != product("student=convnet_bn")
    assert product() != product("protocol.lr=0.02")
    assert product() == product("protocol.nets=3") == product("generator.sampling_batch=7")


def test_the_pool_is_trained_as_networks_of_the_whole_training_set_are(context: MakeContext) -> None:
    pools = []
    for protocol in ("dc", "minimax_hard"):  # the second trains its students by another optimiser
        ctx = context(*WORDS, f"protocol={protocol}")
        ctx.cache.root = ctx.folder / "another"
        pools.append(d2m.network_pool(ctx, ctx.dataset, *networks(ctx), Config(**QUICK))[-1])
    assert all(torch.equal(value, pools[1][name]) for name, value in pools[0].items())


TOY = [
    "dataset=digits",
    "student.width=16",
    "protocol.augment=false",
    "protocol.epochs=120",
    "protocol.nets=3",
    "method=d2m",
    "method.batch_real=16",
    "method.pool_size=4",
    "method.pool_steps=150",
    "method.augment=false",
    "generator.train_steps=60",
]


def test_on_digits_distillation_mends_an_undertrained_decoder(
    run_cell: RunCell, context: MakeContext
) -> None:
    def accuracy(*words: str) -> float:
        (values,) = (m["values"] for m in run_cell(*TOY, *words)["measures"] if m["name"] == "accuracy")
        return sum(values) / len(values)

    for ipc in (1, 5):
        before, after = (accuracy(f"ipc={ipc}", f"method.iterations={count}") for count in (0, 150))
        assert after > before + 15
    ctx = context(*TOY)
    cfg = Config(iterations=150, batch_real=16, pool_size=4, pool_steps=150, augment=False)
    start = latent_of(ctx)
    end = d2m.distilled_generator(ctx, ctx.dataset, *networks(ctx), cfg, start)
    net, pool = network_of(ctx).eval(), d2m.network_pool(ctx, ctx.dataset, *networks(ctx), cfg)

    def terms(generator: latent.LatentGenerator) -> dict[str, float]:
        total = {"embedding": 0.0, "prediction": 0.0}
        with torch.no_grad():
            for weights in pool:
                net.load_state_dict(weights)
                losses = d2m._losses(ctx, ctx.dataset, replace(cfg, batch_real=64), generator, net, 0)
                total = {name: value + float(losses[name]) for name, value in total.items()}
        return total

    first, last = terms(start), terms(end)
    assert last["embedding"] < first["embedding"] / 2
    assert last["prediction"] < first["prediction"] / 2
