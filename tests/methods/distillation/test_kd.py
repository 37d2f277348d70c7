"""Knowledge distillation: the loss in closed form, and that a teacher helps."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_bench import distillation, training
from distill_bench.training import Batch

RunCell = Callable[..., dict[str, Any]]
WORDS = ("dataset=digits", "student=mlp16", "recipe=digits")


def logits(count: int = 6, classes: int = 10, seed: int = 0) -> Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measures(result: dict[str, Any]) -> dict[str, float]:
    """The first value of each measure that has no facets."""
    return {m["name"]: m["values"][0] for m in result["measures"] if not m["facets"]}


def test_the_divergence_vanishes_where_logits_agree_up_to_a_shift() -> None:
    student, teacher = logits(), logits(seed=1)
    assert distillation.divergence(student, student + 7, 4.0).abs().max() < 1e-12
    shifted = distillation.divergence(student - 3, teacher + 5, 4.0)
    torch.testing.assert_close(shifted, distillation.divergence(student, teacher, 4.0))
    assert bool((shifted > 0).all())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_its_gradient_is_t_times_the_difference_of_softened_predictions(temperature: float) -> None:
    student, teacher = logits().requires_grad_(), logits(seed=1)
    (gradient,) = torch.autograd.grad(distillation.divergence(student, teacher, temperature).sum(), student)
    softened = [(z.detach() / temperature).softmax(1) for z in (student, teacher)]
    torch.testing.assert_close(gradient, temperature * (softened[0] - softened[1]))


def test_at_high_temperature_it_compares_centred_logits() -> None:
    student, teacher = logits(), logits(seed=1)
    centred = [z - z.mean(1, keepdim=True) for z in (student, teacher)]
    limit = (centred[0] - centred[1]).square().sum(1) / (2 * 10)
    torch.testing.assert_close(distillation.divergence(student, teacher, 1e4), limit, rtol=1e-3, atol=0)


def test_several_teachers_count_by_the_mean_of_their_softened_predictions() -> None:
    batch = Batch(torch.zeros(1, 6, 1, 2, 2), torch.zeros(1, 6, dtype=torch.long))
    answers = [logits(seed=1), logits(seed=2)]
    many = [lambda _, z=answer: z for answer in answers]
    objective = distillation.KnowledgeDistillation(many, temperature=4.0, hard_weight=0.0, soft_weight=1.0)
    mean = torch.stack([(logits(seed=s) / 4).softmax(1) for s in (1, 2)]).mean(0)
    expected = distillation.divergence(logits(), 4 * mean.log(), 4.0).sum()
    torch.testing.assert_close(objective(logits(), batch), expected)
    assert list(objective.parameters()) == []


def test_without_a_soft_term_it_is_cross_entropy_bit_for_bit(run_cell: RunCell) -> None:
    more = ("method.soft_weight=0", "method.hard_weight=1", "teacher=mlp", "profile=smoke")
    without = run_cell("method=kd", *WORDS, *more)
    assert measures(without) == measures(run_cell("method=ce", *WORDS, "profile=smoke"))


def test_a_teacher_helps_where_images_are_few(run_cell: RunCell) -> None:
    few = ("trainset.fraction=0.2",)
    taught = ("teacher=mlp", "teacher.trainset={fraction: 0.2}")
    seeds = [f"seed={seed}" for seed in range(4)]
    alone = fmean(measures(run_cell("method=ce", *WORDS, *few, s))["accuracy"] for s in seeds)
    helped = fmean(measures(run_cell("method=kd", *WORDS, *few, *taught, s))["accuracy"] for s in seeds)
    assert helped > alone + 1


def test_a_teacher_is_not_trained() -> None:
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 10)).eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective = distillation.KnowledgeDistillation(
        [teacher], temperature=4.0, hard_weight=0.1, soft_weight=0.9
    )
    images, labels = torch.randn(1, 8, 1, 2, 2), torch.arange(8)[None]
    student = torch.randn(8, 10, requires_grad=True)
    objective(student, training.Batch(images, labels)).backward()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
