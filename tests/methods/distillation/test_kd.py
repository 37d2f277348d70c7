"""Knowledge distillation: laws of its loss, cross-entropy without it, and a student that a teacher helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_bench.context import Context
from distill_bench.distillation import KnowledgeDistillation, divergence
from distill_bench.errors import UserError
from distill_bench.groups import TeacherConfig
from distill_bench.methods.classification import ce
from distill_bench.methods.distillation import kd
from distill_bench.products import Classifier
from distill_bench.seeding import generator
from distill_bench.training import Batch

RunCell = Callable[..., dict[str, Any]]
B, K = 6, 5
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def logits(name: str) -> Tensor:
    return 3 * torch.randn(B, K, generator=generator(0, name), dtype=torch.double)


def loss_of(student: Tensor, *teachers: Tensor, temperature: float = 4.0, hard: float = 0.0) -> Tensor:
    """The objective of a batch for which each teacher gives these logits."""
    says = [lambda _, own=own: own for own in teachers]
    objective = KnowledgeDistillation(says, temperature=temperature, hard_weight=hard, soft_weight=0.9)
    return objective(student, Batch(torch.zeros(1, B, 1, 1, 1), LABELS[None]))


def test_nothing_is_to_learn_from_a_teacher_that_agrees() -> None:
    student = logits("student").requires_grad_()
    loss = loss_of(student, student.detach())
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.abs() < 1e-12 and gradient.abs().max() < 1e-12
    assert loss_of(student, logits("teacher")) > 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_its_gradient_is_the_difference_of_softened_predictions(temperature: float) -> None:
    student, teacher = logits("student").requires_grad_(), logits("teacher")
    (gradient,) = torch.autograd.grad(loss_of(student, teacher, temperature=temperature) / B, student)
    difference = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
    torch.testing.assert_close(gradient, 0.9 * temperature * difference / B, rtol=1e-10, atol=1e-14)


def test_a_constant_added_to_all_logits_of_an_image_changes_nothing() -> None:
    student, teacher, shift = logits("student"), logits("teacher"), logits("shift")[:, :1]
    value = divergence(student, teacher, 4.0)
    torch.testing.assert_close(divergence(student + shift, teacher, 4.0), value)
    torch.testing.assert_close(divergence(student, teacher - 2 * shift, 4.0), value)


def test_at_a_high_temperature_it_is_the_squared_distance_of_centred_logits() -> None:
    student, teacher = logits("student"), logits("teacher")
    apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = apart.square().sum(1) / (2 * K)
    torch.testing.assert_close(divergence(student, teacher, 1e4), limit, rtol=1e-3, atol=0)
    assert not torch.allclose(divergence(student, teacher, 1.0), limit, rtol=0.05)


def test_several_teachers_are_one_with_the_mean_of_their_softened_predictions() -> None:
    student, one, two = logits("student"), logits("one"), logits("two")
    mean = 4 * ((one / 4).softmax(1) + (two / 4).softmax(1)).div(2).log()
    torch.testing.assert_close(loss_of(student, one, two), loss_of(student, mean))
    torch.testing.assert_close(loss_of(student, one, one), loss_of(student, one))


def test_the_labels_have_their_own_weight() -> None:
    student, teacher = logits("student"), logits("teacher")
    hard = nn.functional.cross_entropy(student, LABELS, reduction="sum")
    torch.testing.assert_close(loss_of(student, teacher, hard=0.1), loss_of(student, teacher) + 0.1 * hard)


WORDS = ("dataset=digits", "student=mlp16", "recipe=digits", "recipe.epochs=3")


def taught(context: Callable[..., Context], teacher: Classifier, config: kd.Config) -> Classifier:
    """What a run of kd makes, with this network in the place of the one that `teacher=` makes."""
    weights = [f"method.{name}={getattr(config, name)}" for name in ("hard_weight", "soft_weight")]
    made = context("method=kd", *WORDS, "teacher=mlp", *weights)

    class Given(Context):
        def products(self, kind: type[Any]) -> list[Any]:
            return [teacher] if kind is TeacherConfig else super().products(kind)

    made.__class__ = Given
    return kd.run(made, config)


def test_without_the_teacher_it_is_cross_entropy_bit_for_bit(context: Callable[..., Context]) -> None:
    plain = ce.run(context("method=ce", *WORDS), ce.Config())
    alone = taught(context, plain, kd.Config(hard_weight=1, soft_weight=0)).backbone.state_dict()
    soft = taught(context, plain, kd.Config()).backbone.state_dict()
    assert all(torch.equal(alone[name], value) for name, value in plain.backbone.state_dict().items())
    assert not all(torch.equal(soft[name], value) for name, value in alone.items())


def test_a_teacher_with_batch_norm_is_left_as_it_was(context: Callable[..., Context]) -> None:
    words = ("dataset=digits", "student=resnet8", "recipe=digits", "recipe.steps=5")
    teacher = ce.run(context("method=ce", *words), ce.Config())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert any("running_mean" in name for name in before)
    taught(context, teacher, kd.Config())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


def accuracy(result: dict[str, Any]) -> float:
    (value,) = next(m["values"] for m in result["measures"] if m["name"] == "accuracy")
    return float(value)


def test_a_student_of_few_digits_gains_by_a_teacher_of_no_more(run_cell: RunCell) -> None:
    """A fifth of the digits for both; the mean of three seeds, as the difference of one is of its size."""
    words = ("dataset=digits", "student=mlp16", "recipe=digits", "trainset.fraction=0.2")
    teacher = ("teacher=mlp", "teacher.trainset={fraction: 0.2}")
    alone = [accuracy(run_cell("method=ce", *words, f"seed={seed}")) for seed in range(3)]
    learned = [accuracy(run_cell("method=kd", *words, *teacher, f"seed={seed}")) for seed in range(3)]
    assert fmean(learned) >= fmean(alone) + 1


def test_a_teacher_of_shuffled_labels_teaches_nothing(run_cell: RunCell) -> None:
    words = ("dataset=digits", "student=mlp16", "recipe=digits", "recipe.epochs=10", "teacher=mlp")
    assert accuracy(run_cell("method=kd", *words, "dataset.shuffled_labels=true")) < 25  # chance: 10


@pytest.mark.parametrize("field", ["temperature", "hard_weight", "soft_weight"])
def test_a_value_out_of_range_is_refused(field: str) -> None:
    with pytest.raises(UserError, match=rf"method\.{field}=-1.*must be"):
        kd.Config(**{field: -1.0})  # type: ignore[arg-type]
    assert math.isclose(kd.Config().hard_weight + kd.Config().soft_weight, 1)
