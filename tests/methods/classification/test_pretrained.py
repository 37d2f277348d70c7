"""A published network with weights from a file: read, found its classes, and as good as any classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import distill_bench
from distill_bench.errors import UserError

RunCell = Callable[..., dict[str, Any]]
NETWORK = "resnet10t"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Two classes of small pictures, and random weights of a network of timm for them."""
    draws = torch.Generator().manual_seed(0)
    for part in ("train", "val"):
        for name, shade in (("dark", 40), ("light", 200)):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = (shade + 30 * torch.rand(16, 16, 3, generator=draws)).byte().numpy()
                Image.fromarray(pixels).save(tmp_path / "pets" / part / name / f"{number}.png")
    torch.manual_seed(0)
    save_file(timm.create_model(NETWORK, num_classes=2).state_dict(), tmp_path / "net.safetensors")
    data = ["dataset=imagefolder", f"dataset.folder={tmp_path / 'pets'}", "dataset.resolution=16"]
    return [
        "method=pretrained",
        *data,
        f"method.network={NETWORK}",
        f"method.weights={tmp_path}/net.safetensors",
    ]


def test_its_logits_are_those_of_the_published_network(
    words: list[str], run_cell: RunCell, tmp_path: Path
) -> None:
    result = run_cell(*words)
    classifier = distill_bench.load(tmp_path / "products" / result["product"]["id"])
    published = timm.create_model(NETWORK, num_classes=2)
    published.load_state_dict(weights(tmp_path))
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert classifier.view.resolution == timm.data.resolve_data_config(model=published)["input_size"][1]
    with torch.no_grad():
        torch.testing.assert_close(classifier(pixels), published.eval()(classifier.view(pixels)))
    assert classifier.class_names == ["dark", "light"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Those of the fixture."""
    from safetensors.torch import load_file

    return load_file(folder / "net.safetensors")


def test_it_teaches(words: list[str], run_cell: RunCell, tmp_path: Path) -> None:
    made = run_cell(*words)
    taught = run_cell(
        "method=kd",
        *words[1:4],
        "student=mlp16",
        "profile=smoke",
        f"teacher={tmp_path}/runs/{made['run_id']}",
    )
    assert taught["config"]["made_from"] == [f"classifier:{made['product']['digest']}"]


def test_other_channels_and_other_classes_are_one_line(words: list[str], run_cell: RunCell) -> None:
    with pytest.raises(UserError, match=r"must be a network for 1 channels, not 3"):
        run_cell("method=pretrained", "dataset=digits", *words[-2:])
    with pytest.raises(UserError, match=r"method\.weights=nowhere: there is no such file"):
        run_cell(*words[:-1], "method.weights=nowhere")
