"""The published scorer: torchvision's ResNet-50 (IMAGENET1K_V1), for data sets whose classes are
ImageNet's."""

from __future__ import annotations

import hashlib
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill_bench.errors import UserError
from distill_bench.models.pretrained import View, read_weights, torchvision_network
from distill_bench.selection.scores import Scorer, Scores

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.running import Run

__all__ = ["centre_view", "pretrained_scorer"]

RESIZE, RESOLUTION = 256, 224  # pixels a side
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pretrained_scorer(run: Run, data: ImageDataset, path: str, restrict: bool) -> tuple[Scorer, Scores]:
    """A ResNet-50 of ImageNet, and its scores of the training images, which are cached.

    The 1000-way softmax is read at each class's own place; with `restrict`, the softmax is over the data
    set's classes. `path`: weights in torchvision's form (.pth or .safetensors); empty: its download.
    UserError, one line, if the classes are not ImageNet's, or there are no such weights.
    """
    from distill_bench.generative.dit import imagenet_ids

    ids = imagenet_ids(data.class_names)
    if ids is None or data.channels != 3:
        unknown = "has classes that are not ImageNet's by wnid" if ids is None else "has no RGB images"
        raise UserError(f"method.scorer=resnet50: dataset={data.name} {unknown}; use method.scorer=trained")
    weights = _weights(path)
    network = torchvision_network(
        "resnet50", weights, num_classes=1000, what="torchvision's ResNet-50", key="method.scorer_path"
    )
    outputs = torch.tensor(ids)
    if restrict:
        network.fc = _rows(network.fc, outputs)
        outputs = torch.arange(len(ids))
    network = network.to(run.device).eval().requires_grad_(False)
    view = _view().to(run.device)

    def prepare(images: Tensor) -> Tensor:
        return view(data.transform.inverse(images).clamp(0, 1))

    scorer = Scorer([network], outputs.to(run.device), prepare)
    parts = {"data": data.fingerprint, "resnet50": _digest(weights), "ids": ids, "restrict": restrict}

    def make(part: Run) -> dict[str, Any]:  # noqa: ARG001 (one pass, without a loop)
        scores = scorer.score(data.train.batches(64))
        return {"difficulty": scores.difficulty, "right": scores.right}

    return scorer, Scores(**run.cached("difficulty", parts, make))


def centre_view(images: Tensor) -> Tensor:
    """Square images in [0, 1] (held by the data set at its own size; the paper's have 256 pixels a side),
    scaled to 256 and cropped to the middle 224."""
    return _view().crop(images)


def _view() -> View:
    return View(resize=RESIZE, resolution=RESOLUTION, mean=MEAN, std=STD)


def _weights(path: str) -> dict[str, Tensor]:
    """The weights of the file, or torchvision's own, downloaded unless they are in its cache."""
    if path:
        return read_weights(path, "a ResNet-50", "method.scorer_path")
    from torchvision.models import ResNet50_Weights

    try:
        return dict(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError, UnpicklingError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"method.scorer_path={path}: no weights of a ResNet-50 to read ({reason})") from None


def _rows(layer: nn.Linear, rows: Tensor) -> nn.Linear:
    """A linear layer with some of the outputs of `layer`."""
    smaller = nn.Linear(layer.in_features, len(rows))
    smaller.load_state_dict({name: value[rows] for name, value in layer.state_dict().items()})
    return smaller


def _digest(weights: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(weights[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]
