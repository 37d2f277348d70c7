"""The product of classification: a trained network, whole in itself.

Legend: B images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from distill_bench import data, models, reporting
from distill_bench.errors import UserError
from distill_bench.groups import Norm, Pooling, StudentConfig, plain
from distill_bench.metrics import Measure

__all__ = ["Classifier"]

Curves = Mapping[str, Sequence[float]]


class Classifier(nn.Module):
    """A frozen network: pixels (B, C, H, W) in [0, 1] in, logits (B, K) out, normalisation inside.

    Differentiable in the pixels; it stays in evaluation mode, and its parameters ask for no gradient.

    backbone: the network itself, which takes what `transform` makes of pixels. network: the config it was
    built from. class_names: K names; multi_label: whether an image may have several. outputs: of the
    backbone (None: K); class_map: for each class, which of them is its own (None: all, in order). view: what
    a published network wants of images, in place of the transform. curves: what its training showed after
    each epoch, by name. record: how it was made, as JSON.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        network: StudentConfig,
        transform: data.Transform,
        class_names: Sequence[str],
        channels: int,
        resolution: int,
        outputs: int | None = None,
        view: models.View | None = None,
        multi_label: bool = False,
        class_map: Sequence[int] | None = None,
        curves: Curves | None = None,
        record: Mapping[str, Any] | None = None,
        measures: tuple[Measure, ...] = (),
        artifacts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.network, self.transform = backbone, network, transform
        self.class_names, self.multi_label = list(class_names), multi_label
        self.channels, self.resolution = channels, resolution
        self.outputs, self.view = outputs or len(self.class_names), view
        self.class_map = None if class_map is None else list(class_map)
        self.curves, self.record = dict(curves or {}), dict(record or {})
        self.measures, self.artifacts = measures, dict(artifacts or {})
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of pixels (B, C, H, W) in [0, 1]. ValueError for images of another shape."""
        wanted = (self.channels, self.resolution, self.resolution)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != wanted:
            raise ValueError(
                f"images of shape {tuple(pixels.shape)}; must be (B, {', '.join(map(str, wanted))})"
            )
        return self.logits(self.inputs(pixels))

    def inputs(self, pixels: Tensor) -> Tensor:
        """What the backbone takes: pixels in [0, 1], normalised, and at its own size; differentiable."""
        if self.view is not None:
            seen: Tensor = self.view(pixels)
            return seen
        return self.transform.forward_unit(pixels)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of what `inputs` made of pixels."""
        outputs: Tensor = self.backbone(inputs)
        return outputs if self.class_map is None else outputs[:, self.class_map]

    def taps(self, pixels: Tensor) -> models.Features:
        """The maps of each block, the embedding and the logits (B, K) of pixels in [0, 1]."""
        features: models.Features = self.backbone(self.inputs(pixels), features=True)
        if self.class_map is None:
            return features
        return features._replace(logits=features.logits[:, self.class_map])

    def reads(self, transform: data.Transform) -> Callable[[Tensor], Tensor]:
        """Logits (B, K) of images that `transform` made of pixels; they need not lie in [0, 1].

        Where the classifier's own transform is equal, images go to the backbone as they are.
        """
        if self.view is None and _equal(self.transform.state(), transform.state()):
            return self.logits
        return lambda images: self.logits(self.inputs(transform.inverse(images)))

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 (the module's face)
        """A frozen network stays in evaluation mode, also inside a module that is trained."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves a module, by itself or as a part of another; the transform goes along."""
        moved = super()._apply(fn, recurse)
        device = next(self.parameters()).device
        self.transform = data.transform_from(self.transform.state(), device)
        return moved

    def facts(self) -> dict[str, Any]:
        """What can be known without the weights: the network, the numbers of classes and channels, the size
        in pixels."""
        return {
            "network": self.network.identity(),
            "classes": len(self.class_names),
            "channels": self.channels,
            "resolution": self.resolution,
        }

    def tensors(self) -> dict[str, Any]:
        """Everything but measures and artifacts, as a tree for a file."""
        fields = ("class_names", "channels", "resolution", "multi_label", "class_map", "outputs")
        return {
            "weights": self.backbone.state_dict(),
            "network": plain(self.network),
            "transform": self.transform.state(),
            "view": None if self.view is None else self.view.facts(),
            **{name: getattr(self, name) for name in fields},
            "curves": self.curves,
            "record": self.record,
        }

    @classmethod
    def from_tensors(cls, tree: Mapping[str, Any], device: torch.device) -> Classifier:
        """The classifier of such a tree, on `device`. UserError if the weights are not of its network."""
        apart = ("weights", "network", "transform", "view")
        fields = {key: value for key, value in tree.items() if key not in apart}
        network, view = _network(tree["network"]), tree["view"] and models.View(**tree["view"]).to(device)
        shape = {"channels": tree["channels"], "num_classes": tree["outputs"]}
        if view is None:
            backbone = models.build(network, resolution=tree["resolution"], **shape)
        else:
            backbone = models.pretrained_network(network.name, resolution=view.resolution, **shape)
        try:
            backbone.load_state_dict(tree["weights"])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"a classifier whose weights are not of {network.name}: {reason}") from None
        transform = data.transform_from(tree["transform"], device)
        return cls(backbone=backbone.to(device), network=network, transform=transform, view=view, **fields)

    def draw(self, path: Path, title: str = "") -> None:
        """Write a PNG of the curves of its training, if it has any, under `title`."""
        reporting.curves(
            path,
            (
                {"phase": "after an epoch", "step": epoch, name: value}
                for name, values in self.curves.items()
                for epoch, value in enumerate(values, 1)
            ),
            counted="epoch",
            title=title,
        )


def _network(fields: Mapping[str, Any]) -> StudentConfig:
    """The config of a network from its plain form."""
    return StudentConfig(**{**fields, "norm": Norm[fields["norm"]], "pooling": Pooling[fields["pooling"]]})


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states of transforms are equal, tensors included."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name])
        if isinstance(value, Tensor) and isinstance(other[name], Tensor)
        else not isinstance(other[name], Tensor) and value == other[name]
        for name, value in one.items()
    )
