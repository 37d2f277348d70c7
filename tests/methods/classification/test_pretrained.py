"""A published network as a product: it says what timm's own network says, and others learn from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import center_crop, normalize, resize

import distill_bench
from distill_bench.errors import UserError
from distill_bench.seeding import generator
from tests.data.pictures import CLASSES, picture_folder

RunCell = Callable[..., dict[str, Any]]
NAME = "test_resnet"  # the smallest that timm has published


def network(classes: int) -> nn.Module:
    """timm's own network with weights of no training."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net: nn.Module = timm.create_model(NAME, num_classes=classes)
    return net.eval()


def saved(folder: Path, classes: int = len(CLASSES)) -> Path:
    save_file(network(classes).state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def words(folder: Path) -> list[str]:
    """A folder of small pictures in three classes as the data set."""
    images = [f"dataset.folder={picture_folder(folder)}", "dataset.resolution=8", "dataset.num_classes=3"]
    return ["dataset=imagefolder", *images, "profile=smoke"]


@pytest.fixture
def product(run_cell: RunCell, tmp_path: Path) -> dict[str, Any]:
    """The result of a run that measured the network."""
    given = (f"method.network={NAME}", f"method.weights={saved(tmp_path)}")
    return run_cell("method=pretrained", *given, *words(tmp_path / "images"))


def test_its_logits_are_those_of_timm_on_the_same_view(product: dict[str, Any], tmp_path: Path) -> None:
    classifier = distill_bench.load(tmp_path / "runs" / product["run_id"])
    pixels = torch.rand(4, 3, 8, 8, generator=generator(0, "pixels"))
    wanted: Any = timm.get_pretrained_cfg(NAME)
    size = wanted.input_size[1]
    mode = timm.data.transforms.str_to_interp_mode(wanted.interpolation)
    seen = center_crop(resize(pixels, int(size / wanted.crop_pct), mode, antialias=True), [size, size])
    seen = normalize(seen.clamp(0, 1), wanted.mean, wanted.std)
    torch.testing.assert_close(classifier(pixels), network(3)(seen), rtol=1e-4, atol=1e-5)
    assert torch.equal(classifier.inputs(pixels), classifier.view(pixels))
    assert classifier.class_names == list(CLASSES) and classifier.class_map is None


def test_it_comes_back_bit_for_bit_and_stays_frozen(product: dict[str, Any], tmp_path: Path) -> None:
    one, other = (distill_bench.load(tmp_path / "runs" / product["run_id"]) for _ in range(2))
    pixels = torch.rand(2, 3, 8, 8, generator=generator(1, "pixels"), requires_grad=True)
    assert torch.equal(one(pixels), other(pixels))
    one(pixels).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in one.parameters())
    weights = network(3).state_dict()
    held = {name.removeprefix("net."): value for name, value in one.backbone.state_dict().items()}
    assert weights.keys() == held.keys()
    assert all(torch.equal(held[name], value) for name, value in weights.items())


def test_its_weights_count_by_content_and_not_by_place(
    product: dict[str, Any], run_cell: RunCell, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.safetensors"
    (tmp_path / "weights.safetensors").rename(moved)
    again = ["method=pretrained", f"method.network={NAME}", f"method.weights={moved}"]
    assert run_cell(*again, *words(tmp_path / "images"))["product"]["digest"] == product["product"]["digest"]


def test_a_student_learns_from_it(product: dict[str, Any], run_cell: RunCell, tmp_path: Path) -> None:
    teacher = f"teacher={tmp_path / 'runs' / product['run_id']}"
    result = run_cell("method=kd", "student=mlp", "recipe=digits", teacher, *words(tmp_path / "images"))
    assert result["status"] == "done"
    assert result["config"]["made_from"] == [f"classifier:{product['product']['digest']}"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["dataset=digits"], r"method\.network=test_resnet: must be a network for 1 channels, not 3"),
        (
            ["classes=5"],
            r"method\.network=test_resnet: has 5 classes; dataset=imagefolder has 3 others",
        ),
        (["method.network=test_resnot"], r"method\.network=test_resnot: unknown; did you mean 'test_resnet'"),
        (["method.network=test_vit"], r"method\.network=.*: not the weights of timm's test_vit"),
        (["method.weights=no/such.pth"], r"method\.weights=no/such\.pth: there is no such file"),
    ],
    ids=["channels", "classes", "name", "another network", "no file"],
)
def test_what_does_not_fit_is_one_line(
    changes: list[str], line: str, run_cell: RunCell, tmp_path: Path
) -> None:
    file = saved(tmp_path, 5 if changes == ["classes=5"] else 3)
    given = ["method=pretrained", f"method.network={NAME}", f"method.weights={file}"]
    images = words(tmp_path / "images") if changes != ["dataset=digits"] else ["profile=smoke"]
    with pytest.raises(UserError, match=line) as error:
        run_cell(*given, *images, *(word for word in changes if not word.startswith("classes")))
    assert "\n" not in str(error.value)
