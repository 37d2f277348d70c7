"""Minimax as a method: what it is without tuning, on a latent prior, and on real
digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_bench import training
from distill_bench.catalogue import method_module
from distill_bench.context import Context
from distill_bench.errors import UserError
from distill_bench.groups import ProtocolConfig, StudentConfig
from distill_bench.methods.dataset_distillation import minimax
from tests.generative.test_dit import save_dit

MakeContext = Callable[..., Context]
ROUGH = ["dataset=digits", "ipc=2", "generator.train_steps=60", "generator.sampling_steps=6"]


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_without_iterations_it_is_plain_sampling_bit_for_bit(context: MakeContext, sampler: str) -> None:
    words = [*ROUGH, f"generator.sampler={sampler}"]
    plain = method_module("diffusion").run(
        context("method=diffusion", *words), method_module("diffusion").Config()
    )
    ours = minimax.run(context("method=minimax", "method.iterations=0", *words), minimax.Config(iterations=0))
    assert torch.equal(ours.images, plain.images)
    tuned = minimax.run(
        context("method=minimax", "method.iterations=20", *words), minimax.Config(iterations=20)
    )
    assert not torch.equal(tuned.images, plain.images)


def test_a_latent_prior_with_learned_variance_is_tuned_and_sampled(
    context: MakeContext, tmp_path: Path
) -> None:
    folder = save_dit(tmp_path / "dit", 10, channels=1)
    words = ["generator=dit_xl2_256", f"generator.path={folder}", "generator.sampling_steps=3"]
    config = minimax.Config(iterations=3, batch=4)
    tuned = minimax.run(context("method=minimax", "dataset=digits", "ipc=1", *words), config)
    plain = context("method=diffusion", "dataset=digits", "ipc=1", *words)
    assert not torch.equal(
        tuned.images, method_module("diffusion").run(plain, method_module("diffusion").Config()).images
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param({"lambda_d": -1.0}, "method.lambda_d=-1.0", id="weight"),
        pytest.param({"memory": 0}, "method.memory=0", id="memory"),
        pytest.param({"ema": 1.0}, "method.ema=1.0", id="average"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        minimax.Config(**setting)


@pytest.mark.slow
def test_a_tuned_model_still_draws_the_class_asked_for_and_a_ruined_one_does_not(
    context: MakeContext,
) -> None:
    words = [
        "dataset=digits",
        "ipc=10",
        "generator.train_steps=300",
        "generator.sampling_steps=15",
        "generator.cfg=1",
    ]
    ctx = context("method=minimax", *words, "protocol.full_steps=250", "student.width=16")
    judge = training.full_data_network(ctx, ctx.dataset, ctx.group(StudentConfig), ctx.group(ProtocolConfig))

    def agreement(**changes: Any) -> float:
        ctx.checkpoints.forget()
        made = minimax.run(ctx, minimax.Config(iterations=200, **changes))
        with torch.no_grad():
            return float((judge(made.inputs()).argmax(1) == made.labels).float().mean())

    assert agreement() > 0.85
    ruined = minimax.Trainable.all
    assert agreement(lambda_d=5.0, trainable=ruined) < 0.5
