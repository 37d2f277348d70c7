"""Plain sampling: real digits come out, of the classes asked for, and random labels take that away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from distill_bench import training
from distill_bench.catalogue import method_module
from distill_bench.contract import Context
from distill_bench.errors import UserError

MakeContext = Callable[..., Context]
SHORT = ["method=diffusion", "dataset=digits", "generator.train_steps=500", "generator.sampling_steps=15"]
JUDGE = ["protocol.full_steps=400", "student.width=32", "generator.cfg=1"]


def agreement(ctx: Context) -> float:
    """Share of the drawn images that a network trained on real images gives their class."""
    made = method_module("diffusion").run(ctx, method_module("diffusion").Config())
    judge = training.full_data_networks(ctx)
    assert judge.accuracies[0] > 90
    from distill_bench import models

    data = ctx.dataset
    net = models.build(
        ctx.student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
    )
    net.load_state_dict(judge.weights[0])
    return float((net.eval()(made.images).argmax(1) == made.labels).float().mean())


def test_a_short_training_already_draws_digits_of_the_class_asked_for(context: MakeContext) -> None:
    assert agreement(context(*SHORT, *JUDGE, "ipc=10")) > 0.85


def test_a_model_of_shuffled_labels_draws_digits_of_any_class(context: MakeContext) -> None:
    ctx = context(*SHORT, "generator.cfg=1", "ipc=10", "dataset.shuffled_labels=true")
    made = method_module("diffusion").run(ctx, method_module("diffusion").Config())
    honest = context(*SHORT, *JUDGE, "ipc=10")
    from distill_bench import models

    net = models.build(honest.student, channels=1, num_classes=10, resolution=8)
    net.load_state_dict(training.full_data_networks(honest).weights[0])
    with torch.no_grad():
        share = float((net.eval()(made.images).argmax(1) == made.labels).float().mean())
    assert share < 0.35


def test_a_generator_that_is_no_diffusion_model_is_one_line(context: MakeContext) -> None:
    ctx = context("method=diffusion", "dataset=digits", "generator.kind=cvae")
    with pytest.raises(UserError, match=r"generator.kind=cvae: this method samples a diffusion model"):
        method_module("diffusion").run(ctx, method_module("diffusion").Config())
