"""A synthetic set on disk is whole in itself: a stranger reads it back, bit for bit, and can use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import distill_bench
from distill_bench.data import Normalise, Whiten, fit_zca
from distill_bench.errors import UserError
from distill_bench.files import read_header, save_tensors
from distill_bench.products import SyntheticSet, save_product

NAMES = ["cat", "dog"]
RunCell = Callable[..., dict[str, Any]]


def transforms() -> dict[str, Any]:
    pixels = torch.randint(
        0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return {"normalised": Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]), "whitened": Whiten(**fit_zca(pixels))}


def make_set(transform: Any, **more: Any) -> SyntheticSet:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 0, 1, 1])
    return SyntheticSet(
        **{"images": images, "labels": labels, "transform": transform, "class_names": NAMES} | more
    )


@pytest.mark.parametrize("kind", ["normalised", "whitened"])
def test_a_set_comes_back_bit_for_bit_with_its_way_to_pixels(tmp_path: Path, kind: str) -> None:
    made = make_set(transforms()[kind], lr=0.03, soft_labels=torch.full((4, 2), 0.5))
    save_product(tmp_path / "s.safetensors", "synthetic_set", made, {"method": "mine"})
    back = distill_bench.load(tmp_path / "s.safetensors")
    assert torch.equal(back.inputs(), made.images)
    assert torch.equal(back.labels, made.labels)
    assert (back.lr, back.class_names) == (0.03, NAMES)
    assert made.soft_labels is not None and torch.equal(back.soft_labels, made.soft_labels)
    assert torch.allclose(back.pixels(), made.pixels(), atol=1e-4)
    assert back.pixels().min() >= 0 and back.pixels().max() <= 1
    pixels = (255 * back.pixels()).round().to(torch.uint8)
    assert torch.equal(back.transform.forward(pixels), made.transform.forward(pixels))


def test_pixels_stay_pixels_and_are_normalised_when_they_are_learned_from(tmp_path: Path) -> None:
    pixels = torch.arange(4 * 3 * 64).remainder(256).to(torch.uint8).view(4, 3, 8, 8)
    made = make_set(transforms()["normalised"], images=pixels)
    save_product(tmp_path / "s.safetensors", "synthetic_set", made, {})
    back = distill_bench.load(tmp_path / "s.safetensors")
    assert back.images.dtype == torch.uint8
    assert torch.equal(back.inputs(), made.transform.forward(pixels))
    assert torch.equal(back.pixels(), pixels.float() / 255)
    assert (tmp_path / "s.safetensors").stat().st_size < 4 * pixels.numel()


def test_a_set_is_a_data_set_of_torch(run_cell: RunCell, tmp_path: Path) -> None:
    result = run_cell("method=dm", "dataset=digits", "ipc=2", "profile=smoke", "protocol.epochs=1")
    from_run = distill_bench.load(tmp_path / "runs" / result["run_id"])
    from_product = distill_bench.load(tmp_path / "products" / result["product"]["id"])
    assert torch.equal(from_run.inputs(), from_product.inputs())
    loader = torch.utils.data.DataLoader(from_run.dataset(), batch_size=8)
    images, labels = next(iter(loader))
    assert images.shape == (8, 1, 8, 8)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(from_run.class_names) == 10


def test_a_file_says_what_made_it(run_cell: RunCell, tmp_path: Path) -> None:
    result = run_cell("method=dm", "dataset=digits", "ipc=1", "profile=smoke", "protocol.epochs=1")
    file = tmp_path / "products" / result["product"]["id"] / result["product"]["artifacts"]["product"]
    about = read_header(file)["about"]
    assert (about["method"], about["identity"]["method"]["iterations"]) == ("dm", 4)
    assert about["made_with"]["torch"] == torch.__version__


def earlier_layout(root: Path) -> Path:
    folder = root / "runs" / "dm_digits_ipc1_seed0_0123abcd"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(
        json.dumps({"schema": 1, "artifacts": {"product": "synthetic.safetensors"}})
    )
    return folder


def foreign(root: Path) -> Path:
    save_file({"images": torch.zeros(2)}, root / "foreign.safetensors")
    return root / "foreign.safetensors"


def another_kind(root: Path) -> Path:
    save_tensors(root / "part.safetensors", {"weights": torch.zeros(2)}, {"kind": "prior"})
    return root / "part.safetensors"


def cut(root: Path) -> Path:
    save_product(root / "s.safetensors", "synthetic_set", make_set(transforms()["normalised"]), {})
    (root / "s.safetensors").write_bytes((root / "s.safetensors").read_bytes()[:-9])
    return root / "s.safetensors"


def text(root: Path) -> Path:
    (root / "t.txt").write_text("no tensors")
    return root / "t.txt"


def wrong_record(content: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        save_product(root / "s.safetensors", "synthetic_set", make_set(transforms()["normalised"]), {})
        (root / "product.json").write_text(content)
        return root

    return make


def wrong_kind(root: Path) -> Path:
    save_tensors(root / "k.safetensors", {"x": torch.zeros(2)}, {"schema": 1, "kind": "os"})
    return root / "k.safetensors"


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (earlier_layout, "a run of an earlier layout.*run it again"),
        (foreign, "not a whole file of this program"),
        (another_kind, "no product of this version"),
        (cut, r"not a whole file of this program|differs from its digest"),
        (text, "not a whole file of this program"),
        (lambda root: root / "nothing", "there is no such product"),
        (lambda root: root, r"holds no product\.json"),
        (wrong_kind, "no whole product of this version"),
        (wrong_record("{}"), "there is no such product"),
        (wrong_record('{"file": "/etc/hosts", "digest": "x"}'), "there is no such product"),
        (wrong_record('{"file": "s.safetensors", "digest": "of another"}'), "not what was written here"),
    ],
    ids=[
        "earlier layout",
        "foreign",
        "another kind",
        "cut",
        "text",
        "nothing",
        "a folder",
        "a kind",
        "{}",
        "outside",
        "another",
    ],
)
def test_what_is_no_product_is_one_clear_line(
    tmp_path: Path, make: Callable[[Path], Path], line: str
) -> None:
    with pytest.raises(UserError, match=line) as error:
        distill_bench.load(make(tmp_path))
    assert "\n" not in str(error.value)
