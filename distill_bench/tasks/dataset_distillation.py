"""Dataset distillation: a small synthetic set, measured by networks trained from scratch on it."""

from __future__ import annotations

import sys
from typing import Any

from distill_bench import data, information, models, reporting, training
from distill_bench.contract import Context, Method, Outcome, SyntheticSet
from distill_bench.errors import require
from distill_bench.files import save_tensors
from distill_bench.metrics import Measure
from distill_bench.tasks.forecast import forecast

__all__ = ["run"]


def run(ctx: Context, method: Method, cfg: Any) -> Outcome:
    """Load the images, let the method make its `SyntheticSet`, keep it with a picture, and train students on
    it.

    Measures: those of `training.evaluate`, `accuracy` for every architecture of the protocol among them; with
    `protocol.audit` what a classifier says of the images; with `protocol.ceiling` also `full_data_accuracy`.
    UserError if a class has fewer images than IPC.
    """
    _check_students(ctx)
    ctx.dataset = data.load(ctx.dataset_config, ctx.data_root, ctx.cache, ctx.device, ctx.seed)
    smallest = int(ctx.dataset.train.class_counts.min())
    wanted = ctx.ipc.images_per_class
    require(
        wanted <= smallest,
        "ipc.images_per_class",
        wanted,
        f"at most {smallest}, the images of the smallest class",
    )

    if plan := forecast(ctx, method, cfg):
        print(plan, file=sys.stderr, flush=True)
    synthetic = method.run(ctx, cfg)
    artifacts = _keep(ctx, synthetic)
    measures = list(synthetic.measures)
    measures += training.evaluate(ctx, synthetic)
    if ctx.protocol.audit:
        measures += _audit(ctx, synthetic)
    if ctx.protocol.ceiling:
        ceiling = training.full_data_networks(ctx).accuracies
        measures.append(
            Measure(name="full_data_accuracy", values=ceiling, facets={"student": ctx.student.name})
        )
    # a control permutes the labels anew for each seed: its seeds are repeats all the same, not different data
    provenance = {} if ctx.dataset_config.shuffled_labels else {"data_fingerprint": ctx.dataset.fingerprint}
    return Outcome(measures, artifacts, provenance)


def _check_students(ctx: Context) -> None:
    """A UserError now, and not after the distillation, for an architecture that cannot be built for these
    images."""
    config = ctx.dataset_config
    shape = {
        "channels": config.channels,
        "num_classes": config.num_classes or 2,
        "resolution": config.resolution,
    }
    for student in training.architectures(ctx).values():
        models.build(student, **shape)


def _audit(ctx: Context, synthetic: SyntheticSet) -> list[Measure]:
    """Labels and information of the images, by the student as trained on the whole training set: it had no
    part in making them."""
    data = ctx.dataset
    net = models.build(
        ctx.student, channels=data.channels, num_classes=data.num_classes, resolution=data.resolution
    )
    net.load_state_dict(training.full_data_networks(ctx).weights[0])
    net.to(ctx.device).eval().requires_grad_(False)
    found = information.measure(net, synthetic.images, synthetic.labels, data.num_classes)
    return [Measure(name=name, values=[value], facets={"by": "independent"}) for name, value in found.items()]


def _keep(ctx: Context, synthetic: SyntheticSet) -> dict[str, str]:
    """Write the product, and a picture of it: rows are classes."""
    path, picture = ctx.folder.path / "synthetic.safetensors", ctx.folder.path / "synthetic.png"
    content = {"images": synthetic.images, "labels": synthetic.labels, "lr": synthetic.lr}
    save_tensors(path, content, {"run": ctx.folder.run_id, "data": ctx.dataset.fingerprint})
    images = ctx.dataset.transform.inverse(synthetic.images).clamp(0, 1).cpu()
    rows = images.unflatten(0, (ctx.dataset.num_classes, ctx.ipc.images_per_class))
    reporting.image_grid(picture, rows.numpy(), ctx.dataset.class_names)
    return {"product": path.name, "picture": picture.name, **synthetic.artifacts}
