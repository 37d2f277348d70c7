"""The published scorer: torchvision's ResNet-50 (IMAGENET1K_V1), for data sets whose classes are
ImageNet's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.errors import UserError
from distill_bench.selection.scores import Scorer, Scores

if TYPE_CHECKING:
    from distill_bench.data import ImageDataset
    from distill_bench.running import Run

__all__ = ["centre_view", "pretrained_scorer"]

SHORT_SIDE, CROP = 256, 224
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
    network, outputs = _network(weights), torch.tensor(ids)
    if restrict:
        network.fc = _rows(network.fc, outputs)
        outputs = torch.arange(len(ids))
    network = network.to(run.device).eval().requires_grad_(False)
    mean, std = (torch.tensor(values, device=run.device)[:, None, None] for values in (MEAN, STD))

    def prepare(images: Tensor) -> Tensor:
        return (centre_view(data.transform.inverse(images).clamp(0, 1)) - mean) / std

    scorer = Scorer([network], outputs.to(run.device), prepare)
    parts = {"data": data.fingerprint, "resnet50": _digest(weights), "ids": ids, "restrict": restrict}

    def make(part: Run) -> dict[str, Any]:  # noqa: ARG001 (one pass, without a loop)
        scores = scorer.score(data.train.batches(64))
        return {"difficulty": scores.difficulty, "right": scores.right}

    return scorer, Scores(**run.cached("difficulty", parts, make))


def centre_view(images: Tensor) -> Tensor:
    """Square images in [0, 1] (held by the data set at its own size; the paper's have 256 pixels a side),
    scaled to 256 and cropped to the middle 224."""
    sized = F.interpolate(
        images, size=(SHORT_SIDE, SHORT_SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    edge = (SHORT_SIDE - CROP) // 2
    return sized[..., edge : edge + CROP, edge : edge + CROP]


def _weights(path: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torchvision.models import ResNet50_Weights

    file = Path(path)
    if path and not file.is_file():
        raise UserError(f"method.scorer_path={path}: no such file")
    try:
        if not path:
            return dict(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
        if file.suffix == ".safetensors":
            return load_file(file)
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, SafetensorError, UnpicklingError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"method.scorer_path={path}: no weights of a ResNet-50 to read ({reason})") from None


def _network(weights: dict[str, Tensor]) -> Any:
    from torchvision.models import resnet50

    with torch.random.fork_rng(devices=[]):  # its constructor draws parameters, which are then replaced
        network = resnet50(weights=None)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise UserError(f"method.scorer_path: not the weights of torchvision's ResNet-50 ({first})") from None
    return network


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
