"""scripts/prepare_data.py: says what is there, decodes it, and fails in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.prepare_data import main
from tests.data.pictures import picture_folder


def roots(tmp_path: Path) -> list[str]:
    return ["--data-root", str(tmp_path), "--cache-root", str(tmp_path / "cache")]


def test_it_prints_counts_size_and_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits", *roots(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "train: 1200 images of 10 classes, 117 to 123 in each" in printed
    assert "1 x 8 x 8" in printed
    assert "mean 0.3064, std 0.3753" in printed


def test_it_decodes_a_folder_into_the_cache(tmp_path: Path) -> None:
    picture_folder(tmp_path / "mine")
    assert main(["imagefolder", "dataset.folder=mine", "dataset.resolution=8", *roots(tmp_path)]) == 0
    assert len(list((tmp_path / "cache" / "images").glob("*.safetensors"))) == 2


def test_it_reads_no_streamed_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture_folder(tmp_path / "mine")
    words = [
        "dataset.folder=mine",
        "dataset.streamed=true",
        "dataset.mean=[.5,.5,.5]",
        "dataset.std=[.5,.5,.5]",
    ]
    assert main(["imagefolder", *words, *roots(tmp_path)]) == 0
    assert "training statistics" not in capsys.readouterr().out


WRONG = {
    "a misspelt name": (["cifar01"], "did you mean 'cifar10'"),
    "a misspelt key": (["digits", "dataset.foldr=x"], "dataset.foldr: unknown key; did you mean 'folder'"),
    "a wrong value": (["digits", "dataset.channels=2"], "dataset.channels=2: must be 1 or 3"),
    "not a setting": (["digits", "resolution=8"], "must be dataset.KEY=VALUE"),
    "absent data": (["imagenet1k"], "dataset=imagenet1k: no data under"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_word_is_one_line_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = WRONG[case]
    assert main([*words, *roots(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
