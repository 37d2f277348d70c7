"""Classification: a trained network, measured on the test images, and under attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_bench import attacks, evaluation, models
from distill_bench.context import Context
from distill_bench.contract import Outcome
from distill_bench.groups import AttackConfig, DatasetConfig, StudentConfig

if TYPE_CHECKING:
    from distill_bench.products import Classifier

__all__ = ["MEASURED_WITH", "NAMED", "PRODUCT", "SMOKE", "TABLE", "check", "measure"]

PRODUCT = "classifier"
MEASURED_WITH = ("dataset", "attack")
TABLE = {name: name for name in ("dataset", "trainset", "teacher", "student")}
NAMED = ("dataset", "teacher", "student")
SMOKE = ("dataset=digits", "student=mlp", "recipe=digits", "teacher=mlp")


def check(ctx: Context) -> None:
    """A UserError now, and not after the training, for a network that cannot be built for these images."""
    config, student = ctx.group(DatasetConfig), ctx.group_in_use(StudentConfig)
    if student is not None:
        shape = {"channels": config.channels, "resolution": config.resolution}
        models.build(student, num_classes=config.num_classes or 2, **shape)


def measure(ctx: Context, product: Classifier) -> Outcome:
    """Measures of `evaluation.classifier_measures` on the test images, of the weights that were kept; under
    an attack also `robust_accuracy`, with the flags of each image in a file, and an example of each class in
    a picture."""
    test = ctx.dataset.test
    measures = evaluation.classifier_measures(product, test, ctx.dataset.class_names)
    attack = ctx.group(AttackConfig)
    if not attack:
        return Outcome(measures)
    flags = attacks.robust_flags(ctx, product, 1, test, attack, "attack")
    flags.save(ctx.folder / "attacked.parquet")
    artifacts = {"attacked": "attacked.parquet"}
    picture = ctx.folder / "attacked.png"
    if attacks.draw_examples(picture, product, 1, test, attack, flags, ctx.dataset.class_names, ctx.seed):
        artifacts["attacked_picture"] = picture.name
    return Outcome([*measures, *flags.measures()], artifacts)
