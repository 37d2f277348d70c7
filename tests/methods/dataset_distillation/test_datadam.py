"""Laws of DataDAM that DM does not already keep for it, and a small real experiment."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distill_bench import models
from distill_bench.context import Context
from distill_bench.groups import Norm, StudentConfig
from distill_bench.matching.distribution import class_mean_loss
from distill_bench.methods.dataset_distillation import datadam, dm

WORDS = ["method=datadam", "dataset=digits", "ipc=1", "profile=smoke"]


def feature_maps(images: int, seed: int, layers: int = 3) -> Any:
    draws = torch.Generator().manual_seed(seed)
    maps = [torch.randn(images, 4, 6, 6, generator=draws, dtype=torch.float64).relu() for _ in range(layers)]
    return SimpleNamespace(maps=maps, embedding=maps[-1].flatten(1))


def means(features: Any, cfg: datadam.Config, classes: int) -> list[tuple[float, torch.Tensor]]:
    return [(w, v.unflatten(0, (classes, -1)).mean(1)) for w, v in datadam.statistics(features, cfg)]


def test_attention_terms_are_those_of_all_layers_but_the_last() -> None:
    cfg = datadam.Config()
    terms = datadam.statistics(feature_maps(6, 0), cfg)
    assert [values.shape for _, values in terms] == [(6, 36), (6, 36), (6, 144)]
    assert [weight for weight, _ in terms] == [100.0, 100.0, 1.0]


def test_the_attention_loss_is_between_zero_and_twice_the_number_of_terms() -> None:
    cfg = datadam.Config(loss_scale=1.0, task_balance=0.0)
    loss = class_mean_loss(means(feature_maps(12, 0), cfg, 3), means(feature_maps(6, 1), cfg, 3))
    assert 0 <= float(loss) <= 2 * 3 * 2


def test_scaling_a_layer_leaves_the_attention_loss() -> None:
    cfg = datadam.Config(task_balance=0.0)
    real, synthetic = feature_maps(12, 0), feature_maps(6, 1)
    before = class_mean_loss(means(real, cfg, 3), means(synthetic, cfg, 3))
    synthetic.maps[0] = 50 * synthetic.maps[0]
    torch.testing.assert_close(class_mean_loss(means(real, cfg, 3), means(synthetic, cfg, 3)), before)


def test_without_attention_it_is_dm(context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch) -> None:
    def embedding_only(features: Any, cfg: datadam.Config) -> list[tuple[float, torch.Tensor]]:
        return [(cfg.loss_scale * cfg.task_balance, features.embedding)]

    monkeypatch.setattr(datadam, "statistics", embedding_only)
    shared = {"iterations": 4, "batch_real": 8}
    ours = datadam.run(context(*WORDS), datadam.Config(**shared)).images  # type: ignore[arg-type]
    theirs = dm.run(context("method=dm", *WORDS[1:]), dm.Config(**shared)).images  # type: ignore[arg-type]
    assert torch.equal(ours, theirs)


class SmoothNet(torch.nn.Module):
    """Two blocks with softplus for ReLU, so that finite differences are meaningful."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        one = torch.nn.functional.softplus(self.first(x))
        two = torch.nn.functional.softplus(self.second(one))
        return SimpleNamespace(maps=[one, two], embedding=two.flatten(1))


def test_the_gradient_with_respect_to_pixels_agrees_with_finite_differences() -> None:
    net, cfg = SmoothNet().double(), datadam.Config()
    draws = torch.Generator().manual_seed(1)
    real = torch.randn(4, 1, 4, 4, generator=draws, dtype=torch.float64)
    synthetic = torch.randn(2, 1, 4, 4, generator=draws, dtype=torch.float64).requires_grad_()
    target = [(w, t.detach()) for w, t in means(net(real), cfg, 2)]
    assert torch.autograd.gradcheck(lambda s: class_mean_loss(target, means(net(s), cfg, 2)), (synthetic,))


def test_batch_norm_statistics_are_over_all_classes() -> None:
    student = StudentConfig(norm=Norm.batch, width=8)
    net = models.build(student, channels=1, num_classes=3, resolution=8).train()
    images = torch.randn(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    together = net(images.flatten(0, 1), features=True).embedding.unflatten(0, (3, 4))
    apart = torch.stack([net(part, features=True).embedding for part in images])
    assert not torch.allclose(together, apart)


def test_a_run_changes_the_images_and_nothing_else(context: Callable[..., Context]) -> None:
    ctx = context(*WORDS)
    before = ctx.dataset.train.images(torch.arange(20)).clone()
    product = datadam.run(ctx, datadam.Config(iterations=3, batch_real=8))
    start = datadam.run(context(*WORDS, "seed=0", "method.iterations=0"), datadam.Config(iterations=0))
    assert not torch.equal(product.images, start.images)
    assert torch.equal(ctx.dataset.train.images(torch.arange(20)), before)
    assert product.labels.tolist() == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", ["method.power=1", "method.lr_image=0.03"], ids=["p=1 lr=1", "p=4 lr=0.03"]
)
def test_on_digits_it_beats_random_selection_and_its_own_noise(
    run_cell: Callable[..., dict[str, Any]], setting: str
) -> None:
    words = [
        "dataset=digits",
        "ipc=1",
        "student.width=16",
        "protocol.augment=false",
        "protocol.epochs=120",
        "protocol.nets=3",
    ]

    def accuracy(*more: str) -> float:
        values = run_cell(*words, *more)["measures"][0]["values"]
        return sum(values) / len(values)

    distil = ["method=datadam", "method.iterations=150", "method.augment=false", setting]
    random_selection = sum(accuracy("method=random", f"seed={seed}") for seed in range(3)) / 3
    noise = accuracy("method=datadam", "method.iterations=0", "method.init=noise")
    assert accuracy(*distil) > random_selection + 8
    assert accuracy(*distil, "method.init=noise", "method.iterations=300") > noise + 40
