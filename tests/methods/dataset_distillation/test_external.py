"""A set from elsewhere is the one that is measured, whatever the form; anything else is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import distill_bench
from distill_bench.errors import UserError
from distill_bench.products import SyntheticSet
from distill_bench.seeding import generator
from tests.data.pictures import picture

RunCell = Callable[..., dict[str, Any]]
WORDS = ("method=external", "dataset=digits", "profile=smoke", "protocol.epochs=1", "protocol.nets=1")
LABELS = torch.arange(10).repeat(2)  # two of each class, not class by class
IMAGES = torch.randn(20, 1, 8, 8, generator=generator(0, "images"))
SORTED = IMAGES.unflatten(0, (2, 10)).transpose(0, 1).flatten(0, 1)


def measured(run_cell: RunCell, tmp_path: Path, path: Path, *words: str) -> SyntheticSet:
    """The product of a run that measured what lies at `path`."""
    result = run_cell(*WORDS, "ipc=2", f"method.path={path}", *words)
    made: SyntheticSet = distill_bench.load(tmp_path / "runs" / result["run_id"])
    return made


FORMS: dict[str, Callable[[Path], object]] = {
    "a mapping.pt": lambda file: torch.save({"images": IMAGES, "labels": LABELS}, file),
    "a pair.pt": lambda file: torch.save((IMAGES, LABELS), file),
    "several sets.pth": lambda file: torch.save(
        {"data": [[IMAGES + 1, LABELS], [IMAGES, LABELS]], "accs": [1.0]}, file
    ),
    "images alone.pt": lambda file: torch.save(SORTED, file),
    "tensors.safetensors": lambda file: save_file({"images": IMAGES, "labels": LABELS}, file),
}


@pytest.mark.parametrize("form", FORMS)
def test_tensors_are_taken_as_they_are_class_by_class(form: str, run_cell: RunCell, tmp_path: Path) -> None:
    FORMS[form](tmp_path / form)
    made = measured(run_cell, tmp_path, tmp_path / form)
    assert torch.equal(made.images, SORTED)
    assert made.labels.tolist() == LABELS.sort().values.tolist()


def test_pixels_in_the_unit_interval_are_normalised(run_cell: RunCell, tmp_path: Path) -> None:
    pixels = torch.rand(20, 1, 8, 8, generator=generator(1, "pixels"))
    torch.save(pixels, tmp_path / "set.pt")
    made = measured(run_cell, tmp_path, tmp_path / "set.pt", "method.values=unit")
    torch.testing.assert_close(made.pixels(), pixels)
    torch.testing.assert_close(made.inputs(), made.transform.forward_unit(pixels))


@pytest.mark.parametrize(
    "names", [[str(k) for k in range(10)], list("abcdefghij")], ids=["named", "in order"]
)
def test_a_folder_of_pictures_is_taken_as_bytes(names: list[str], run_cell: RunCell, tmp_path: Path) -> None:
    for k, name in enumerate(names):
        for i in range(2):
            picture(tmp_path / "set" / name / f"{i}.png", 10 * k + i, (8, 8), "L")
    made = measured(run_cell, tmp_path, tmp_path / "set")
    picture(tmp_path / "again.png", 31, (8, 8), "L")
    assert made.images.dtype == torch.uint8 and made.images.shape == (20, 1, 8, 8)
    from distill_bench.data.decode import Shape, decode

    assert made.images[7].numpy().tolist() == decode(str(tmp_path / "again.png"), Shape(1, 8)).tolist()


def bad(tensors: Tensor, labels: Tensor = LABELS) -> Callable[[Path], object]:
    return lambda file: torch.save((tensors, labels), file)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "another size": (bad(IMAGES[..., :7]), r"must be images of \(1, 8, 8\), not \(1, 8, 7\)"),
    "another class": (bad(IMAGES, LABELS + 1), "must be labelled from 0 to 9"),
    "other numbers": (bad(IMAGES[:19], LABELS[:19]), r"must be 2 images of each class \(ipc\), not 1 to 2"),
    "fewer labels": (bad(IMAGES, LABELS[:5]), r"as many labels as images \(20\)"),
    "no number": (bad(IMAGES / 0), "without NaN and infinity"),
    "no images": (lambda file: torch.save({"x": 1}, file), "no images there; want"),
    "no tensors": (lambda file: file.write_text("hello"), "cannot be read"),
    "empty": (lambda file: file.write_bytes(b""), "cannot be read"),
    "absent": (lambda file: file.unlink(missing_ok=True), "there is no such file or folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_such_set_is_one_line(case: str, run_cell: RunCell, tmp_path: Path) -> None:
    write, line = WRONG[case]
    write(tmp_path / "set.pt")
    with pytest.raises(UserError, match=line) as caught:
        run_cell(*WORDS, "ipc=2", f"method.path={tmp_path / 'set.pt'}")
    assert str(caught.value).startswith("method.path=") and "\n" not in str(caught.value)


def test_a_path_must_be_given(run_cell: RunCell) -> None:
    with pytest.raises(UserError, match=r"^method.path=: nothing given"):
        run_cell(*WORDS, "ipc=2")
