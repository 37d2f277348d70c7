"""Plain sampling: real digits come out, of the classes asked for, and random labels take that away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distill_bench import training
from distill_bench.catalogue import method_module
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import ProtocolConfig, StudentConfig

MakeContext = Callable[..., Context]
SHORT = ["method=diffusion", "dataset=digits", "generator.train_steps=300", "generator.sampling_steps=15"]
JUDGE = ["protocol.full_steps=250", "student.width=16", "generator.cfg=1"]


def agreement(ctx: Context, judge_of: Context) -> float:
    """Share of the drawn images that a network trained on the real images of `judge_of` gives their class."""
    drawn = method_module("diffusion").run(ctx, method_module("diffusion").Config())
    groups = judge_of.group(StudentConfig), judge_of.group(ProtocolConfig)
    assert training.full_data_networks(judge_of, judge_of.dataset, *groups).accuracies[0] > 90
    judge = training.full_data_network(judge_of, judge_of.dataset, *groups)
    return float((judge(drawn.inputs()).argmax(1) == drawn.labels).float().mean())


def test_a_short_training_already_draws_digits_of_the_class_asked_for(context: MakeContext) -> None:
    ctx = context(*SHORT, *JUDGE, "ipc=10")
    assert agreement(ctx, ctx) > 0.85


def test_a_model_of_shuffled_labels_draws_digits_of_any_class(context: MakeContext) -> None:
    ctx = context(*SHORT, "generator.cfg=1", "ipc=10", "dataset.shuffled_labels=true")
    assert agreement(ctx, context(*SHORT, *JUDGE, "ipc=10")) < 0.35


def test_a_generator_that_is_no_diffusion_model_is_one_line(context: MakeContext) -> None:
    ctx = context("method=diffusion", "dataset=digits", "generator.kind=cvae")
    with pytest.raises(UserError, match=r"generator.kind=cvae: this method samples a diffusion model"):
        method_module("diffusion").run(ctx, method_module("diffusion").Config())
