"""Classifiers of timm and torchvision with their weights: from a file, or from the package's own cache.

Nothing is downloaded. A name is one of timm's, as everywhere in this package, or of torchvision where timm
has none; `timm/<name>` and `torchvision/<name>` say which. A tag says which of the published weights:
`resnet50.a1_in1k` of timm, `torchvision/resnet50.IMAGENET1K_V1`.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_bench.errors import UserError, closest
from distill_bench.files import Damaged, load_saved_by_torch
from distill_bench.models.foreign import TimmNetwork

__all__ = [
    "Pretrained",
    "View",
    "load_pretrained",
    "pretrained_network",
    "read_weights",
    "torchvision_network",
]

IMAGENET = 1000  # classes


class View(nn.Module):
    """What a classifier wants of an image: scaled to `resize` pixels a side, of which the middle `resolution`
    is taken, and normalised by the `mean` and the `std` of each channel.

    Square images (B, C, H, H) in [0, 1] -> (B, C, R, R). Gradients flow. `interpolation`: bilinear or
    bicubic, whose result is kept in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        resize: int,
        resolution: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        self.resize, self.resolution, self.interpolation = resize, resolution, interpolation
        self.register_buffer("mean", torch.tensor(list(mean))[:, None, None])
        self.register_buffer("std", torch.tensor(list(std))[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (self.crop(images) - self.mean) / self.std

    def facts(self) -> dict[str, Any]:
        """The arguments from which an equal view is made, as JSON."""
        return {
            "resize": self.resize,
            "resolution": self.resolution,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "interpolation": self.interpolation,
        }

    def crop(self, images: Tensor) -> Tensor:
        """The middle of the scaled images, in [0, 1] still."""
        size = (self.resize, self.resize)
        sized = F.interpolate(images, size=size, mode=self.interpolation, antialias=True, align_corners=False)
        edge = round((self.resize - self.resolution) / 2)
        middle = sized[..., edge : edge + self.resolution, edge : edge + self.resolution]
        return middle.clamp(0, 1) if self.interpolation == "bicubic" else middle


@dataclass(frozen=True)
class Pretrained:
    """A frozen classifier in evaluation mode, and what is known of it.

    `module` takes images as `view` makes them and gives logits (B, K); of timm's, also `Features`.
    """

    module: nn.Module
    name: str  # with its package: timm/resnet50.a1_in1k
    channels: int
    num_classes: int
    view: View  # its attributes: resize, resolution, mean, std
    class_names: list[str]  # ImageNet's by wnid; empty if not known


def load_pretrained(name: str, path: str = "", *, key: str = "pretrained") -> Pretrained:
    """The classifier `name` with the weights of the file `path` (.safetensors, or .pth of tensors alone).

    Without a path, with the weights that its package has published, if they are in its cache. The number of
    classes is that of the weights. UserError at `key`, one line, for an unknown name, for weights that are
    not there (it says how to get them), and for those of another network.
    """
    package, bare = _package(name, key)
    if package == "timm":
        return _of_timm(bare, path, key)
    return _of_torchvision(bare, path, key)


def pretrained_network(name: str, *, channels: int, num_classes: int, resolution: int) -> nn.Module:
    """The network of `Pretrained.name`, whose weights are still to be loaded."""
    package, _, bare = name.partition("/")
    if package == "timm":
        return TimmNetwork(bare, channels=channels, num_classes=num_classes, resolution=resolution)
    return TorchvisionNetwork(_torchvision_shape(bare.partition(".")[0], num_classes))


def read_weights(path: str | Path, what: str, key: str) -> dict[str, Tensor]:
    """The tensors of a file by name: .safetensors, or what torch saved, of which nothing is executed.

    `what`: whose weights they should be, in words. UserError, one line, if there is no such file or it cannot
    be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path)
    if not file.is_file():
        raise UserError(f"{key}={path}: no such file")
    try:
        weights = load_file(file) if file.suffix == ".safetensors" else load_saved_by_torch(file)
    except (Damaged, OSError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{key}={path}: no weights of {what} to read ({reason})") from None
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"{key}={path}: no weights of {what} to read (no mapping of names to tensors)")
    named = _plain(weights)
    for name, value in named.items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise UserError(f"{key}={path}: no weights of {what}: {name} is not finite")
    return named


def torchvision_network(
    name: str, weights: Mapping[str, Tensor], *, num_classes: int, what: str, key: str
) -> Any:
    """torchvision's classifier `name` with these weights. UserError at `key` if they are not those of
    `what`."""
    network = _torchvision_shape(name, num_classes)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{key}: not the weights of {what} ({_second_line(error)})") from None
    return network


def _torchvision_shape(name: str, num_classes: int) -> Any:
    """torchvision's classifier `name` with parameters that are to be replaced."""
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return get_model(name, weights=None, num_classes=num_classes)


class TorchvisionNetwork(nn.Module):
    """A classifier of torchvision: logits alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, features: bool = False) -> Any:
        if features:
            raise ValueError("features of torchvision's networks are not read; timm has most of them")
        return self.net(x)


def _package(name: str, key: str) -> tuple[str, str]:
    """(timm or torchvision, the name there). UserError if neither has it, or not with this tag."""
    import timm
    from torchvision import models

    package, _, bare = name.rpartition("/")
    stem, _, tag = bare.partition(".")
    ours = models.list_models(module=models)
    if package in ("timm", "") and timm.is_model(stem):
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{stem}.*")]
        package = "timm"
    elif package in ("torchvision", "") and stem in ours:
        tags = [weights.name for weights in models.get_model_weights(stem)]
        package = "torchvision"
    else:
        known = {"timm": timm.list_models(), "torchvision": ours}.get(package, [*timm.list_models(), *ours])
        match = difflib.get_close_matches(stem, known, n=1, cutoff=0.0)[0]
        allowed = (
            "a network of timm or torchvision, such as resnet50, timm/resnet50.a1_in1k or torchvision/vgg11"
        )
        raise UserError(f"{key}={name}: unknown; did you mean {match!r}? allowed: {allowed}")
    if tag and tag not in tags:
        raise UserError(f"{key}={name}: unknown weights; {closest(tag, tags)}")
    return package, bare


def _of_timm(name: str, path: str, key: str) -> Pretrained:
    import timm

    published: Any = timm.get_pretrained_cfg(name)
    full = f"timm/{name}" if "." in name or not published.tag else f"timm/{name}.{published.tag}"
    weights = read_weights(path or _cached_by_timm(published, full, key), f"timm's {name}", key)
    layers = published.classifier if isinstance(published.classifier, tuple) else (published.classifier,)
    count = _rows(weights, layers[0], published.num_classes)
    if count == 0:
        raise UserError(f"{key}={name}: a network without classes; allowed: a classifier")
    channels, resolution = published.input_size[0], published.input_size[1]
    overlay = {"state_dict": weights, "num_classes": count}
    shape = {"channels": channels, "num_classes": count, "resolution": resolution}
    try:
        module = TimmNetwork(name, **shape, pretrained=True, pretrained_cfg_overlay=overlay)
    except (KeyError, RuntimeError) as error:
        where = f"{key}={path or name}"
        raise UserError(f"{where}: not the weights of timm's {name} ({_second_line(error)})") from None
    names = _imagenet(count, published.num_classes)
    return Pretrained(_frozen(module), full, channels, count, _view_of_timm(published), names)


def _view_of_timm(published: Any) -> View:
    from timm.data import resolve_data_config

    wanted = resolve_data_config(pretrained_cfg=published.to_dict())
    return View(
        resize=int(wanted["input_size"][1] / wanted["crop_pct"]),
        resolution=wanted["input_size"][1],
        mean=wanted["mean"],
        std=wanted["std"],
        interpolation="bicubic" if wanted["interpolation"] == "bicubic" else "bilinear",
    )


def _of_torchvision(name: str, path: str, key: str) -> Pretrained:
    from torchvision.models import get_model_weights

    stem, _, tag = name.partition(".")
    choices = get_model_weights(stem)
    published = choices[tag] if tag else choices.DEFAULT
    what = f"torchvision's {stem}"
    weights = read_weights(path or _cached_by_torch(published, stem, key), what, key)
    count = _rows(weights, _classifier(stem), IMAGENET)
    network = torchvision_network(stem, weights, num_classes=count, what=what, key=f"{key}={path or name}")
    wanted = published.transforms()
    view = View(
        resize=wanted.resize_size[0],
        resolution=wanted.crop_size[0],
        mean=wanted.mean,
        std=wanted.std,
        interpolation=wanted.interpolation.value,
    )
    full = f"torchvision/{stem}.{published.name}"
    module = _frozen(TorchvisionNetwork(network))
    return Pretrained(module, full, 3, count, view, _imagenet(count, IMAGENET))


def _cached_by_timm(published: Any, full: str, key: str) -> Path:
    """The file of the published weights in the hub's cache, or in torch's. UserError if it is in neither."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = (published.hf_hub_id or "").partition("@")
    own = published.hf_hub_filename
    files = [f"{Path(own).stem}.safetensors", own] if own else ["model.safetensors", "pytorch_model.bin"]
    for file in files if repository else []:
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    url = published.url or ""
    there = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if there.suffix in (".pth", ".pt", ".bin", ".safetensors") and there.is_file():
        return there
    name = full.removeprefix("timm/")
    raise _not_there(key, full, f"import timm; timm.create_model('{name}', pretrained=True)")


def _cached_by_torch(published: Any, stem: str, key: str) -> Path:
    """The file of the published weights in torch's cache. UserError if it is not there."""
    there = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
    if there.is_file():
        return there
    code = f"import torchvision; torchvision.models.get_model('{stem}', weights='{published.name}')"
    raise _not_there(key, f"torchvision/{stem}.{published.name}", code)


def _not_there(key: str, full: str, code: str) -> UserError:
    """What is missing, and how to get it."""
    way = f'download them once with `python -c "{code}"`, or give a file of them'
    return UserError(f"{key}={full}: its weights are not in the cache of this machine; {way}")


def _plain(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights alone, of a checkpoint that may hold them under a name, or under `module.`."""
    for name in ("state_dict", "model", "net"):
        if isinstance(weights.get(name), Mapping):
            weights = weights[name]
            break
    prefix = "module." if weights and all(name.startswith("module.") for name in weights) else ""
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def _rows(weights: Mapping[str, Tensor], layer: str, usual: int) -> int:
    """Outputs of the classifier by its weights; the usual number if there are none of this name."""
    weight = weights.get(f"{layer}.weight")
    return len(weight) if isinstance(weight, Tensor) and weight.ndim else usual


def _classifier(stem: str) -> str:
    """The name of the last layer with weights of torchvision's network."""
    from torchvision.models import get_model

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = get_model(stem, weights=None)
    return [name for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))][
        -1
    ]


def _imagenet(count: int, published: int) -> list[str]:
    """ImageNet's classes by wnid, in order, if as many were published and are there; else none."""
    if not count == published == IMAGENET:
        return []
    from timm.data import ImageNetInfo

    return list(ImageNetInfo("imagenet-1k").label_names())


def _frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def _second_line(error: Exception) -> str:
    """Of torch's message about names and shapes, the first that is wrong; the message itself if it has one
    line."""
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    return lines[min(1, len(lines) - 1)]
