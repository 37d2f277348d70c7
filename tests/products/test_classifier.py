"""A classifier on disk is whole in itself: pixels go in, and equal logits come out, wherever it is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import distill_bench
from distill_bench import models
from distill_bench.data import Normalise, Whiten, fit_zca
from distill_bench.errors import UserError
from distill_bench.files import load_tensors, read_header, save_tensors
from distill_bench.groups import Norm, StudentConfig
from distill_bench.products import Classifier, save_product
from distill_bench.seeding import generator
from tests.conftest import REPOSITORY

RunCell = Callable[..., dict[str, Any]]
NAMES = ["cat", "dog", "owl"]
CONVNET = StudentConfig(width=4, depth=1, norm=Norm.batch)


def uniform(name: str, count: int = 5) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=generator(0, name))


def transforms() -> dict[str, Any]:
    pixels = (255 * uniform("zca", 40)).byte()
    return {"normalised": Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]), "whitened": Whiten(**fit_zca(pixels))}


def classifier(kind: str = "normalised", config: StudentConfig = CONVNET, **more: Any) -> Classifier:
    outputs = more.get("outputs") or len(NAMES)
    net = models.build(config, channels=3, num_classes=outputs, resolution=8)
    models.reinitialise(net, generator(1, "weights"))
    with torch.no_grad():
        net(uniform("statistics") - 0.3)  # batch norm has seen something
    fields = {"class_names": NAMES, "channels": 3, "resolution": 8, "transform": transforms()[kind]} | more
    return Classifier(backbone=net, network=config, **fields)


def saved(made: Classifier, path: Path) -> Path:
    save_product(path, "classifier", made, {"method": "mine"})
    return path


@pytest.mark.parametrize("kind", ["normalised", "whitened"])
def test_it_comes_back_bit_for_bit(tmp_path: Path, kind: str) -> None:
    facts: dict[str, Any] = {
        "curves": {"loss": [1 / 3, 0.1]},
        "record": {"kept_epoch": 2},
        "multi_label": True,
    }
    made = classifier(kind, **facts)
    back = distill_bench.load(saved(made, tmp_path / "c.safetensors"))
    pixels = uniform("pixels")
    assert torch.equal(back(pixels), made(pixels))
    for one, other in zip(back.taps(pixels).maps, made.taps(pixels).maps, strict=True):
        assert torch.equal(one, other)
    assert (back.network, back.class_names, back.facts()) == (CONVNET, NAMES, made.facts())
    assert (back.curves, back.record, back.multi_label) == tuple(facts.values())


@pytest.mark.parametrize("kind", ["normalised", "whitened"])
def test_normalisation_is_inside(kind: str) -> None:
    made, pixels = classifier(kind), (255 * uniform("pixels")).round()
    transform = transforms()[kind]
    expected = made.backbone(transform.forward(pixels.byte()))
    torch.testing.assert_close(made(pixels / 255), expected)
    assert not torch.allclose(made.backbone(pixels / 255), expected)
    images = transform.forward(pixels.byte())
    assert torch.equal(made.reads(transforms()[kind])(images), made.backbone(images))
    other = Normalise([0.1] * 3, [0.7] * 3)
    read = made.reads(other)(other.forward(pixels.byte()))
    torch.testing.assert_close(read, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["normalised", "whitened"])
def test_its_gradient_reaches_the_pixels_and_nothing_else(kind: str) -> None:
    made, pixels = classifier(kind), uniform("pixels").requires_grad_()
    (gradient,) = torch.autograd.grad(made(pixels)[:, 0].sum(), pixels)
    step = 1e-2 * gradient / gradient.norm()
    rise = (made(pixels + step) - made(pixels - step))[:, 0].sum() / 2e-2
    torch.testing.assert_close(rise, gradient.norm(), rtol=0.05, atol=0)
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_it_stays_as_it_is_inside_a_module_that_is_trained() -> None:
    made, pixels = classifier(), uniform("pixels")
    before = {name: value.clone() for name, value in made.state_dict().items()}
    logits = made(pixels)
    around = nn.Sequential(nn.Identity(), made).train()
    assert around.training and not any(module.training for module in made.modules())
    assert torch.equal(around(pixels), logits)
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


@pytest.mark.parametrize("kind", ["normalised", "whitened"])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside another"])
def test_its_transform_moves_with_it(kind: str, inside: bool) -> None:
    made = classifier(kind)
    assert isinstance(made.transform, (Normalise, Whiten))
    (nn.Sequential(made) if inside else made).to("meta")
    assert made.transform.mean.device.type == "meta"
    assert made(uniform("pixels").to("meta")).shape == (5, 3)


def test_taps_are_those_of_the_network() -> None:
    made, pixels = classifier(), uniform("pixels")
    taps, own = made.taps(pixels), made.backbone(made.inputs(pixels), features=True)
    assert torch.equal(taps.logits, made(pixels)) and torch.equal(taps.embedding, own.embedding)
    assert len(taps.maps) == len(own.maps) > 0


def test_classes_may_be_some_of_the_outputs_in_another_order(tmp_path: Path) -> None:
    made, pixels = classifier(outputs=6, class_map=[4, 0, 5]), uniform("pixels")
    every = made.backbone(made.inputs(pixels))
    assert every.shape == (5, 6) and torch.equal(made(pixels), every[:, [4, 0, 5]])
    assert torch.equal(made.taps(pixels).logits, made(pixels))
    back = distill_bench.load(saved(made, tmp_path / "c.safetensors"))
    assert torch.equal(back(pixels), made(pixels)) and back.class_map == [4, 0, 5]


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 8, 7), (3, 8, 8), (2, 3, 16, 16)], ids=str)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(B, 3, 8, 8\)"):
        classifier()(torch.zeros(shape))


def foreign(file: Path) -> None:
    file.write_bytes(b"not a product at all")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def rewritten(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree, about = load_tensors(file), read_header(file)["about"]
    change(tree)
    file.unlink()
    save_tensors(file, tree, about)


def of_another_network(file: Path) -> None:
    weights = classifier(config=StudentConfig(width=7, depth=1, norm=Norm.batch)).backbone.state_dict()
    rewritten(file, lambda tree: tree.update(weights=weights))


def without_weights(file: Path) -> None:
    rewritten(file, lambda tree: tree.pop("weights"))


def of_an_unknown_network(file: Path) -> None:
    rewritten(file, lambda tree: tree["network"].update(name="no_such_network"))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (foreign, "not a whole file of this program"),
        (cut, "not a whole file of this program|differs from its digest"),
        (altered, "differs from its digest"),
        (of_another_network, "a classifier whose weights are not of convnet: size mismatch"),
        (without_weights, "no whole product of this version"),
        (of_an_unknown_network, "no_such_network"),
    ],
)
def test_a_file_that_is_not_whole_is_one_line_that_names_it(
    tmp_path: Path, damage: Callable[[Path], None], line: str
) -> None:
    file = saved(classifier(), tmp_path / "c.safetensors")
    damage(file)
    with pytest.raises(UserError, match=line) as error:
        distill_bench.load(file)
    assert "\n" not in str(error.value) and "c.safetensors" in str(error.value)


def test_a_fresh_process_reads_a_trained_one_and_gives_equal_logits(
    run_cell: RunCell, tmp_path: Path
) -> None:
    words = ("method=ce", "dataset=digits", "dataset.zca=true", "student=mlp16", "recipe=digits")
    result = run_cell(*words, "recipe.epochs=1")
    made = distill_bench.load(tmp_path / "runs" / result["run_id"])
    pixels = torch.rand(9, 1, 8, 8, generator=generator(0, "pixels"))
    torch.save(pixels, tmp_path / "pixels.pt")
    code = f"""
import torch, distill_bench
made = distill_bench.load({str(tmp_path / "products" / result["product"]["id"])!r})
torch.save(made(torch.load({str(tmp_path / "pixels.pt")!r})), {str(tmp_path / "logits.pt")!r})
"""
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), made(pixels))
    assert isinstance(made.transform, Whiten)
