"""KD: Distilling the Knowledge in a Neural Network, Hinton, Vinyals and Dean, 2015, arXiv 1503.02531.

A student learns from the softened predictions of a trained teacher, and a little from the labels. Temperature
and weights are those of the CRD benchmark (Tian et al., ICLR 2020), in which later losses are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_bench import classification, distillation
from distill_bench.classification.settings import ClassifierConfig
from distill_bench.contract import MethodInfo
from distill_bench.errors import require
from distill_bench.groups import RecipeConfig, StudentConfig, TeacherConfig, TrainsetConfig

if TYPE_CHECKING:
    from distill_bench.context import Context
    from distill_bench.products import Classifier

__all__ = ["INFO", "Config", "run"]


@dataclass(kw_only=True)
class Config(ClassifierConfig):
    """Hyper-parameters with the values of the CRD benchmark."""

    name: str = "kd"
    temperature: float = 4.0  # T of both softmaxes, > 0
    hard_weight: float = 0.1  # gamma, of the cross-entropy with the labels, >= 0
    soft_weight: float = 0.9  # alpha, of T^2 KL from the teacher's predictions, >= 0; 0: no teacher

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, "method.temperature", self.temperature, "> 0")
        for key in ("hard_weight", "soft_weight"):
            require(getattr(self, key) >= 0, f"method.{key}", getattr(self, key), ">= 0")


INFO = MethodInfo(
    task="classification",
    paper="baseline: Distilling the Knowledge in a Neural Network, NeurIPS 2014 workshop, arXiv 1503.02531",
    summary="a student of a teacher's softened predictions",
    uses=("dataset", "student", "recipe", "trainset", "teacher"),
)


def run(ctx: Context, cfg: Config) -> Classifier:
    r"""Minimise :math:`\gamma\, CE(z_s, y) + \alpha\, T^2 KL(\sigma_T(z_t) \| \sigma_T(z_s))`.

    Teacher and student see the same augmented images; the teacher's own normalisation is inside it.
    """
    sets = ctx.products(TrainsetConfig)
    images = classification.training_images(ctx.dataset, ctx.group(TrainsetConfig), sets)
    objective = distillation.KnowledgeDistillation(
        [teacher.reads(images.transform) for teacher in ctx.products(TeacherConfig)],
        temperature=cfg.temperature,
        hard_weight=cfg.hard_weight,
        soft_weight=cfg.soft_weight,
    )
    student, recipe = ctx.group(StudentConfig), ctx.group(RecipeConfig)
    return classification.train_classifier(ctx, ctx.dataset, images, student, recipe, cfg, objective)
